-- The invalid indexes of the contacts table with one of these names, left over from an interrupted build.
--
-- $1  text[]  names
SELECT crm_sync.full_name(c.oid) AS name
FROM crm_sync.parts() AS p
JOIN pg_index AS i ON p.relation = i.indrelid
JOIN pg_class AS c ON i.indexrelid = c.oid
WHERE c.relname = ANY ($1::text[]) AND NOT i.indisvalid AND c.relkind = 'i'
