-- Tells every session that listens, once this is committed.
--
-- $1  text  the channel
-- $2  text  what is told
SELECT pg_notify($1::text, $2::text)
