-- The schema of crm-sync, and whether its owner could run SQL as this role, which calls functions in it. That does not count if
-- the owner could do so anyway, or this role acts for the owner. No row if there is no crm-sync in this database.
SELECT
    n.oid,
    r.rolname::text AS owner,
    current_user::text AS role,
    NOT pg_has_role(n.nspowner, current_user, 'MEMBER')
    AND (
        (SELECT m.rolsuper FROM pg_roles AS m WHERE m.rolname = current_user)
        OR NOT pg_has_role(n.nspowner, 'USAGE')
    ) AS is_foreign
FROM pg_namespace AS n
JOIN pg_roles AS r ON n.nspowner = r.oid
WHERE n.nspname = 'crm_sync'
