-- A table to be adopted, and what this role may do with it. No row if it does not exist.
--
-- $1  oid  the table
SELECT
    c.oid AS relation,
    format('%I.%I', n.nspname, c.relname) AS name,
    c.relkind::text AS kind,
    c.relispartition AS is_partition,
    c.relrowsecurity AS has_row_security,
    c.relkind = 'r' AND EXISTS (SELECT FROM pg_inherits AS i WHERE i.inhparent = c.oid) AS has_heirs,
    pg_get_userbyid(c.relowner) AS owner,
    pg_has_role(c.relowner, 'USAGE') AS is_owner,
    current_user AS role,
    n.nspname AS namespace,
    has_schema_privilege(c.relnamespace, 'CREATE') AS may_create,
    current_setting('server_version') AS server_version,
    (
        SELECT count(*)
        FROM pg_partition_tree(c.oid) AS p
        WHERE p.isleaf AND p.relid <> c.oid
    ) AS partitions,
    EXISTS (
        SELECT
        FROM pg_partition_tree(c.oid) AS p
        JOIN pg_class AS pc ON p.relid = pc.oid
        WHERE pc.relkind = 'f'
    ) AS has_foreign_partitions,
    (
        SELECT coalesce(sum(GREATEST(pc.reltuples, 0)), 0)::bigint
        FROM pg_class AS pc
        WHERE
            pc.relkind = 'r'
            AND (pc.oid = c.oid OR pc.oid IN (SELECT p.relid FROM pg_partition_tree(c.oid) AS p))
    ) AS rows,
    (
        SELECT coalesce(sum(pg_relation_size(pc.oid)), 0)::bigint
        FROM pg_class AS pc
        WHERE
            pc.relkind = 'r'
            AND (pc.oid = c.oid OR pc.oid IN (SELECT p.relid FROM pg_partition_tree(c.oid) AS p))
    ) AS bytes
FROM pg_class AS c
JOIN pg_namespace AS n ON c.relnamespace = n.oid
WHERE c.oid = $1::oid
