-- The server process of this session. Through a transaction pooler, a connection may get a different one for each statement.
SELECT pg_backend_pid() AS pid
