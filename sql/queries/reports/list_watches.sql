-- Which columns of the contacts table are watched for which CRM, and whether the trigger fires for an ordinary session.
SELECT
    l.crm,
    ARRAY(
        SELECT a.attname::text
        FROM unnest(t.tgattr::smallint[]) WITH ORDINALITY AS watched (attnum, position)
        JOIN pg_attribute AS a ON a.attrelid = t.tgrelid AND a.attnum = watched.attnum
        ORDER BY watched.position
    ) AS columns,
    t.tgname AS trigger,
    t.tgenabled IN ('O', 'A') AS enabled
FROM crm_sync.lanes AS l
JOIN pg_trigger AS t ON t.tgrelid = :'contacts_name'::regclass AND t.tgname = format('crm_sync_%s_watch', l.crm)
ORDER BY l.id
