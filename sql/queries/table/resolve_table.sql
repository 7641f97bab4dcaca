-- Which table a person means, by the search_path of this connection. NULL where there is none, or the role may not see it.
--
-- $1  text  its name, as SQL writes it
SELECT to_regclass($1::text)::oid AS relation
