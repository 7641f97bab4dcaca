-- The triggers of crm-sync on the contacts table, and whether they fire for an ordinary session.
SELECT
    t.tgname AS name,
    t.tgenabled IN ('O', 'A') AS enabled
FROM crm_sync.adopted AS d
JOIN pg_trigger AS t ON d.contacts = t.tgrelid
WHERE t.tgname LIKE 'crm\_sync\_%'
