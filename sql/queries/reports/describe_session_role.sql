-- The role of this connection, the one that logged in, which `SET role` may have replaced, and whether the first is a superuser.
SELECT
    quote_ident(current_user) AS role,
    quote_ident(session_user) AS login,
    r.rolsuper AS is_superuser
FROM pg_roles AS r
WHERE r.rolname = current_user
