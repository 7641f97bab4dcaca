-- Resolves types: an array to its elements, a domain to its base type, an enum to its labels.
--
-- $1  oid[]  the types
WITH RECURSIVE
given AS (
    SELECT
        g.oid AS given,
        e.oid IS NOT NULL AS is_list,
        coalesce(e.oid, g.oid) AS oid
    FROM unnest($1::oid[]) AS g (oid)
    LEFT JOIN pg_type AS e ON g.oid = e.typarray
),

bases AS (
    SELECT
        g.given,
        g.is_list,
        g.oid
    FROM given AS g
    UNION ALL
    SELECT
        b.given,
        b.is_list,
        t.typbasetype AS oid
    FROM bases AS b
    JOIN pg_type AS t ON b.oid = t.oid
    WHERE t.typtype = 'd'
)

SELECT
    b.given,
    b.is_list,
    CASE WHEN t.typnamespace = 'pg_catalog'::regnamespace THEN t.typname::text END AS builtin,
    t.typtype::text AS form,
    t.typcategory::text AS category,
    -- Of a table, view or the like, whose columns are its members.
    coalesce(r.relkind <> 'c', FALSE) AS is_row,
    format_type(b.given, NULL) AS name,
    (
        SELECT array_agg(e.enumlabel::text ORDER BY e.enumsortorder)
        FROM pg_enum AS e
        WHERE e.enumtypid = t.oid
    ) AS labels
FROM bases AS b
JOIN pg_type AS t ON b.oid = t.oid
LEFT JOIN pg_class AS r ON t.typrelid = r.oid
WHERE t.typtype <> 'd'
