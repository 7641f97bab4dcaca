-- The possible keys of a table: its columns, and how SQL writes each, and which of them is unique on its own, leads an index, or is in the primary key.
--
-- $1  oid  the table
SELECT
    a.attname::text AS name,
    quote_ident(a.attname) AS written,
    format_type(a.atttypid, a.atttypmod) AS type,
    a.attnotnull AS is_never_null,
    t.typcategory = 'S' AS is_text,
    -- The name suggests an address, and the type allows one.
    t.typcategory = 'S' AND a.attname ILIKE '%mail%' AS may_be_email,
    EXISTS (
        SELECT
        FROM pg_index AS i
        WHERE i.indrelid = a.attrelid AND i.indisprimary AND a.attnum = ANY (i.indkey)
    ) AS is_in_primary_key,
    EXISTS (
        SELECT
        FROM pg_index AS i
        WHERE
            i.indrelid = a.attrelid
            AND i.indisunique
            AND i.indisvalid
            AND i.indimmediate
            AND i.indpred IS NULL
            AND i.indnkeyatts = 1
            AND i.indkey[0] = a.attnum
    ) AS is_unique,
    EXISTS (
        SELECT
        FROM pg_index AS i
        WHERE
            i.indrelid = a.attrelid
            AND i.indisvalid
            AND i.indpred IS NULL
            AND i.indkey[0] = a.attnum
    ) AS begins_an_index
FROM pg_attribute AS a
JOIN pg_type AS t ON a.atttypid = t.oid
WHERE
    a.attrelid = $1::oid
    AND a.attnum > 0
    AND NOT a.attisdropped
ORDER BY a.attnum
