-- Whether an index still finds a contact by its key, and whether one keeps two rows from having the same. The adoption asks for both;
-- of a table with partitions only for the first.
SELECT
    coalesce(bool_or(i.indexrelid IS NOT NULL), FALSE) AS is_found,
    coalesce(bool_or(i.indisunique AND i.indnkeyatts = 1), FALSE) OR c.relkind = 'p' AS is_unique
FROM crm_sync.adopted AS d
JOIN pg_class AS c ON d.contacts = c.oid
JOIN pg_attribute AS k ON d.contacts = k.attrelid AND d.key_column = k.attname
LEFT JOIN pg_index AS i
    ON d.contacts = i.indrelid AND i.indkey[0] = k.attnum AND i.indisvalid AND i.indpred IS NULL
GROUP BY c.relkind
