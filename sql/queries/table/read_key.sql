-- A key of the contacts table, from how a person writes it.
--
-- $1  text
SELECT $1::text:::id_type AS id
