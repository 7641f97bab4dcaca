-- The roles that were given the rights of a worker, as `crm-sync grants` prints them: column by column.
SELECT DISTINCT quote_ident(r.rolname) AS role
FROM pg_attribute AS a
CROSS JOIN LATERAL aclexplode(a.attacl) AS g
JOIN pg_roles AS r ON g.grantee = r.oid
WHERE
    a.attrelid = to_regclass('crm_sync.workers')
    AND g.privilege_type = 'INSERT'
ORDER BY role
