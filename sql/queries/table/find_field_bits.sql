-- The bits of fields in the numbers that record which fields were sent to a CRM. Fields without one are left out. The row without a
-- name says how often numbering has started again: minus its place.
--
-- $1  text    the CRM
-- $2  text[]  the fields
SELECT
    f.name,
    f.place
FROM crm_sync.fields AS f
WHERE
    f.crm = $1::text
    AND (f.name = ANY ($2::text[]) OR f.name = '')
