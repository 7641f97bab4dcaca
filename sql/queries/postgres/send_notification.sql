-- Notifies every listening session once this is committed.
--
-- $1  text  the channel
-- $2  text  the payload
SELECT pg_notify($1::text, $2::text)
