-- The rules that make a DELETE of a contact delete no row, and the CRMs where deleted contacts are to be deleted.
SELECT
    quote_ident(r.rulename) AS name,
    ARRAY(
        SELECT l.crm
        FROM crm_sync.lanes AS l
        WHERE l.installed AND l.on_delete <> 'keep'
        ORDER BY l.id
    ) AS crms
FROM crm_sync.adopted AS a
JOIN pg_rewrite AS r ON a.contacts = r.ev_class
WHERE
    r.ev_type = '4'  -- DELETE
    AND r.is_instead
    AND r.ev_enabled IN ('O', 'A')
ORDER BY r.rulename
