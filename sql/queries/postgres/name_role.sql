-- The role of this connection, quoted if necessary, for messages about missing rights.
SELECT quote_ident(current_user) AS role
