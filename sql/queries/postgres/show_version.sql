-- The version of the server, in its usual form.
SHOW server_version
