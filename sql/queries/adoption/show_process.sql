-- The server process of this session. A transaction pooler gives a connection another one from statement to statement.
SELECT pg_backend_pid() AS pid
