-- The roles with the rights of a worker, as printed by `crm-sync grants`: column by column.
SELECT DISTINCT quote_ident(r.rolname) AS role
FROM pg_attribute AS a
CROSS JOIN LATERAL aclexplode(a.attacl) AS g
JOIN pg_roles AS r ON g.grantee = r.oid
WHERE
    a.attrelid = to_regclass('crm_sync.workers')
    AND g.privilege_type = 'INSERT'
ORDER BY role
