-- How many pages the contacts table has, or its largest partition.
SELECT (GREATEST(pg_relation_size(c.oid), max(pg_relation_size(p.relid))) / current_setting('block_size')::bigint)::bigint AS pages
FROM pg_class AS c
LEFT JOIN pg_partition_tree(c.oid) AS p ON TRUE
WHERE c.oid = :'contacts_name'::regclass
GROUP BY c.oid
