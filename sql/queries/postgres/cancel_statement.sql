-- Ends the statement that a session is at, and leaves the session.
--
-- $1  integer  its process id
SELECT pg_cancel_backend($1::integer)
