-- The columns of a table that the role may not read, in table order.
--
-- $1  text  the table, as SQL writes it
SELECT attname::text AS name
FROM pg_attribute
WHERE
    attrelid = to_regclass($1)
    AND attnum > 0
    AND NOT attisdropped
    AND NOT has_column_privilege(attrelid, attnum, 'SELECT')
ORDER BY attnum
