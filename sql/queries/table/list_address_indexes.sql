-- How indexes of the contacts table find an address: by the column itself, in any case or not, or in lower case. A partial index
-- does not find all, unless it leaves out only NULL.
--
-- $1  text  the column
SELECT DISTINCT
    CASE
        WHEN i.indkey[0] <> a.attnum THEN 'in small letters'
        WHEN t.typname = 'citext' THEN 'in any case'
        ELSE 'as it is'
    END AS kind
FROM crm_sync.adopted AS d
JOIN pg_attribute AS a ON a.attrelid = d.contacts AND a.attname = $1::text
JOIN pg_type AS t ON t.oid = a.atttypid
JOIN pg_index AS i ON i.indrelid = d.contacts
JOIN pg_class AS c ON c.oid = i.indexrelid
JOIN pg_am AS m ON m.oid = c.relam
WHERE
    i.indisvalid
    AND (i.indpred IS NULL OR pg_get_expr(i.indpred, i.indrelid) = format('(%I IS NOT NULL)', a.attname))
    AND m.amname IN ('btree', 'hash')
    AND (
        i.indkey[0] = a.attnum
        OR (
            i.indkey[0] = 0
            AND pg_get_indexdef(i.indexrelid, 1, TRUE) IN (
                format('lower(%I)', a.attname), format('lower(%I::text)', a.attname), format('lower((%I)::text)', a.attname)
            )
        )
    )
