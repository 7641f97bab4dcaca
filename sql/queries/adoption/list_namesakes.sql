-- Tables of the same name in other schemas, those that this role can see: one of them may be meant. Case does not count.
--
-- $1  text  a name, with a schema or without
SELECT format('%I.%I', n.nspname, c.relname) AS name
FROM pg_class AS c
JOIN pg_namespace AS n ON c.relnamespace = n.oid
WHERE
    lower(c.relname) = lower(btrim(regexp_replace($1::text, '^.*\.', ''), '"'))
    AND c.relkind IN ('r', 'p')
    AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'crm_sync')
    AND n.nspname NOT LIKE 'pg\_%'
ORDER BY name
LIMIT 5
