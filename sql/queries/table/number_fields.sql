-- Gives a bit to fields without one, as long as any are left. Returns those that have one.
--
-- $1  text    the CRM
-- $2  text[]  the fields
SELECT
    f.name,
    f.place
FROM crm_sync.number_fields($1::text, $2::text[]) AS f
