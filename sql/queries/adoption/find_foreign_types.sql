-- Types with the names of ours in the schema of the contacts table that somebody else has made there. Who owns a type can have a
-- function of their own run by anyone who casts it; so can who has put a check on a domain.
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
    -- What was added stays so, no matter who owns the table now.
    AND NOT EXISTS (SELECT FROM crm_sync.added AS o WHERE o.kind = 'type' AND o.name = format('%I.%I', n.nspname, t.typname))
ORDER BY t.typname
