-- The size of a table and of its pages.
--
-- $1  text  its name, as SQL writes it
SELECT
    pg_relation_size($1::text::regclass) / current_setting('block_size')::integer AS pages,
    current_setting('block_size')::integer AS page_bytes
