-- Whether history can be written: according to the rights of the role, and the existing slots.
SELECT
    quote_ident(current_user) AS role,
    has_table_privilege(h.relation, 'INSERT') AS may_write,
    32 - count(i.inhrelid) AS missing_slots
FROM (SELECT to_regclass('crm_sync.history') AS relation) AS h
LEFT JOIN pg_inherits AS i ON h.relation = i.inhparent
WHERE h.relation IS NOT NULL
GROUP BY h.relation
