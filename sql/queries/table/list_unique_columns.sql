-- The columns of the contacts table that are in the key of a unique index, including indexes of single partitions. Postgres takes
-- the strong row lock for every change of one of them. Indexes with a condition or an expression do not count, nor do columns
-- that are only included.
SELECT DISTINCT a.attname AS name
FROM crm_sync.adopted AS d
CROSS JOIN LATERAL (
    SELECT d.contacts::oid AS relid
    UNION
    SELECT p.relid
    FROM pg_partition_tree(d.contacts) AS p
) AS t
JOIN pg_index AS i ON t.relid = i.indrelid
CROSS JOIN LATERAL unnest(i.indkey::smallint[]) WITH ORDINALITY AS k (attnum, place)
JOIN pg_attribute AS a ON i.indrelid = a.attrelid AND k.attnum = a.attnum
WHERE
    i.indisunique
    AND k.place <= i.indnkeyatts
    AND i.indpred IS NULL
    AND i.indexprs IS NULL
