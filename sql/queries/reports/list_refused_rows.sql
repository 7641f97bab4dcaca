-- Contacts whose rows the table does not let living workers write, as they have reported: how many for each reason, and one of them.
SELECT
    p.crm,
    r.reason,
    count(*) AS contacts,
    min(r.contact) AS example
FROM crm_sync.progress AS p
JOIN crm_sync.living_workers AS w ON p.worker = w.id
CROSS JOIN LATERAL jsonb_each_text(p.refused) AS r (contact, reason)
GROUP BY
    p.crm,
    r.reason
ORDER BY
    p.crm,
    contacts DESC,
    r.reason
