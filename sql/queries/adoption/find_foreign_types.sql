-- Types with the names of ours in the schema of the contacts table, created by another role. The owner of a type can have a
-- function run by any role that casts to it; so can a role that added a check to a domain.
SELECT
    format('%I.%I', n.nspname, t.typname) AS name,
    r.rolname::text AS owner
FROM crm_sync.adopted AS a
JOIN pg_class AS c ON a.contacts = c.oid
JOIN pg_namespace AS n ON c.relnamespace = n.oid
JOIN pg_type AS t ON n.oid = t.typnamespace
JOIN pg_roles AS r ON t.typowner = r.oid
WHERE
    t.typname IN ('crm_sync_status', 'crm_processing_status')
    AND (t.typtype <> 'e' OR NOT pg_has_role(t.typowner, c.relowner, 'MEMBER'))
    -- Objects we added count as ours, whichever role owns the table now.
    AND NOT EXISTS (SELECT FROM crm_sync.added AS o WHERE o.kind = 'type' AND o.name = format('%I.%I', n.nspname, t.typname))
ORDER BY t.typname
