-- How large the contacts table is, in bytes, without its indexes. A table without partitions is not part of a partition tree.
-- NULL for a role that may not count it.
SELECT
    CASE
        WHEN has_function_privilege('crm_sync.count_contacts()', 'EXECUTE') THEN coalesce(sum(pg_relation_size(c.oid)), 0)::bigint
    END AS size
FROM crm_sync.adopted AS a
JOIN pg_class AS c
    ON
        c.oid = a.contacts
        OR c.oid IN (SELECT t.relid FROM pg_partition_tree(a.contacts) AS t)
WHERE c.relkind = 'r'
