-- Whether row level security hides any row of the contacts table from this role. Policies are not evaluated: there must be one
-- that allows everything, and no restrictive one.
SELECT
    row_security_active(d.contacts::oid)
    AND NOT (
        coalesce(bool_or(p.permissive AND p.cmd IN ('*', 'r') AND p.says_yes), FALSE)
        AND coalesce(bool_or(p.permissive AND p.cmd IN ('*', 'w') AND p.says_yes), FALSE)
        AND coalesce(bool_and(p.permissive OR p.says_yes), TRUE)
    ) AS is_filtered
FROM crm_sync.adopted AS d
LEFT JOIN LATERAL (
    SELECT
        o.polpermissive AS permissive,
        o.polcmd::text AS cmd,
        pg_get_expr(o.polqual, o.polrelid) = 'true'
        AND coalesce(pg_get_expr(o.polwithcheck, o.polrelid), 'true') = 'true' AS says_yes
    FROM pg_policy AS o
    WHERE
        o.polrelid = d.contacts
        AND o.polcmd IN ('*', 'r', 'w')
        AND EXISTS (SELECT FROM unnest(o.polroles) AS r (oid) WHERE r.oid = 0 OR pg_has_role(r.oid, 'USAGE'))
) AS p ON TRUE
GROUP BY d.contacts
