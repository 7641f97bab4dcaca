-- The triggers of crm-sync on the contacts table, and whether they fire for an ordinary session.
SELECT
    tgname AS name,
    tgenabled IN ('O', 'A') AS enabled
FROM pg_trigger
WHERE
    tgrelid = to_regclass('contacts')
    AND tgname LIKE 'crm\_sync\_%'
