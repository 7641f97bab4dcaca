-- The table that a name means by the search_path of this connection. NULL if there is none, or the role may not see it. That path
-- may not be trustworthy, so nothing else is looked up by it.
--
-- $1  text  its name, as SQL writes it
SELECT pg_catalog.to_regclass($1::pg_catalog.text)::pg_catalog.oid AS relation
