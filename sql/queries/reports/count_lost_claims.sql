-- How many contacts of one CRM are in flight without a living worker. A worker puts them back in line.
SELECT count(*) AS lost
FROM :contacts
WHERE
    :claimed_by IS NOT NULL
    AND (:claimed_by >> 32)::integer NOT IN (SELECT w.id FROM crm_sync.living_workers AS w)
