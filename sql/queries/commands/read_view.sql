-- How Postgres parsed a view: for a whole row (c.*) it records no columns.
--
-- $1  text  the view
SELECT pg_get_viewdef($1::text::regclass) AS definition
