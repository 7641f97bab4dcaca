-- A key of the contacts table, from its text.
--
-- $1  text
SELECT $1::text:::id_type:as_read AS id
