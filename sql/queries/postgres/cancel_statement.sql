-- Cancels the statement that a session is running, without ending the session.
--
-- $1  integer  its process id
SELECT pg_cancel_backend($1::integer)
