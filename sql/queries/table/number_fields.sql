-- The same, and those that have no bit yet get one, as long as there are any.
--
-- $1  text    the CRM
-- $2  text[]  the fields
SELECT
    f.name,
    f.place
FROM crm_sync.number_fields($1::text, $2::text[]) AS f
