-- The role of this connection, quoted where it has to be: a person is told which one lacks a right.
SELECT quote_ident(current_user) AS role
