-- What the owners of our trigger functions lack, as GRANTs. These functions run as their owners, for the application has no right on
-- this schema: without one of these rights, the application's own writes fail.
--
-- SELECT is needed where rows move between partitions; the adoption grants both everywhere.
SELECT
    l.crm,
    pg_get_userbyid(p.proowner) AS role,
    array_agg(DISTINCT format(w.grant_to, quote_ident(pg_get_userbyid(p.proowner)))) AS lacking
FROM crm_sync.lanes AS l
JOIN pg_proc AS p ON p.prosecdef AND p.pronamespace = 'crm_sync'::regnamespace
CROSS JOIN LATERAL (
    SELECT
        CASE WHEN p.proname = l.crm || '_deleted' THEN 'crm_sync.tombstones' ELSE format('crm_sync.%I', l.crm || '_line') END AS name
) AS t
CROSS JOIN LATERAL (
    SELECT 'GRANT USAGE ON SCHEMA crm_sync TO %s' AS grant_to
    WHERE NOT has_schema_privilege(p.proowner, 'crm_sync', 'USAGE')
    UNION ALL
    SELECT format('GRANT SELECT, INSERT ON %s TO %%s', t.name)
    WHERE
        to_regclass(t.name) IS NOT NULL
        AND NOT (
            has_table_privilege(p.proowner, to_regclass(t.name), 'SELECT')
            AND has_table_privilege(p.proowner, to_regclass(t.name), 'INSERT')
        )
) AS w
WHERE
    l.installed
    AND p.proname IN (l.crm || '_flip', l.crm || '_placed', l.crm || '_watch', l.crm || '_deleted')
GROUP BY l.crm, p.proowner
ORDER BY l.crm
