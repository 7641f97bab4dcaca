-- The given rights that the role lacks.
--
-- $1  text[]  relations, as SQL writes them
-- $2  text[]  a column of each, or '' for the whole of it
-- $3  text[]  a right on each, such as SELECT
SELECT
    wanted.relation,
    wanted.column_name,
    wanted.privilege,
    quote_ident(current_user) AS role
FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS wanted (relation, column_name, privilege, number)
WHERE
    NOT CASE
        WHEN wanted.column_name = '' THEN has_table_privilege(wanted.relation, wanted.privilege)
        ELSE has_column_privilege(wanted.relation, wanted.column_name, wanted.privilege)
    END
ORDER BY wanted.number
