-- How Postgres has understood a view: of a whole row (c.*) it notes down no columns.
--
-- $1  text  the view
SELECT pg_get_viewdef($1::text::regclass) AS definition
