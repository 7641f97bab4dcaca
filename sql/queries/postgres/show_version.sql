-- The version of the server, as its own people write it.
SHOW server_version
