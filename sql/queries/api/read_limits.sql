-- The limits of each account, according to its living workers, and how much of them is used.
SELECT
    p.crm,
    max(p.limits) AS limits,
    (
        SELECT b.budget::text
        FROM crm_sync.budgets AS b
        WHERE b.crm = p.crm
    ) AS budget
FROM crm_sync.progress AS p
JOIN crm_sync.living_workers AS w ON p.worker = w.id
GROUP BY p.crm
