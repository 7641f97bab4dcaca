-- About how many contacts there are, according to the planner; 0 if the table was never analyzed. A table without partitions is
-- not part of a partition tree.
SELECT coalesce(sum(greatest(c.reltuples, 0)), 0)::bigint AS contacts
FROM crm_sync.adopted AS a
JOIN pg_class AS c
    ON
        c.oid = a.contacts
        OR c.oid IN (SELECT t.relid FROM pg_partition_tree(a.contacts) AS t)
WHERE c.relkind = 'r'
