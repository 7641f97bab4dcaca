-- The settings on which the text of a contact's key depends, by the type of the key. Empty for most keys.
--
-- A domain is resolved to its base type, a range to the type of its bounds. Times of day depend on none.
WITH RECURSIVE
base AS (
    SELECT a.atttypid AS type
    FROM crm_sync.adopted AS d
    JOIN pg_attribute AS a ON d.contacts = a.attrelid AND d.key_column = a.attname
    UNION
    SELECT coalesce(r.rngsubtype, t.typbasetype)
    FROM base AS b
    JOIN pg_type AS t ON b.type = t.oid
    LEFT JOIN pg_range AS r ON t.oid IN (r.rngtypid, r.rngmultitypid)
    WHERE t.typtype IN ('d', 'r', 'm')
)

SELECT s.name
FROM base AS b
JOIN
    (
        VALUES
        ('date'::regtype, 'DateStyle'),
        ('timestamp'::regtype, 'DateStyle'),
        ('timestamptz'::regtype, 'DateStyle'),
        ('timestamptz'::regtype, 'TimeZone'),
        ('interval'::regtype, 'IntervalStyle'),
        ('float4'::regtype, 'extra_float_digits'),
        ('float8'::regtype, 'extra_float_digits'),
        ('bytea'::regtype, 'bytea_output')
    ) AS s (type, name) ON b.type = s.type
ORDER BY s.name
