-- Whether row level security is forced on the owner too, so that not even the owner sees every row.
SELECT row_security_active(c.oid) AS is_active
FROM crm_sync.adopted
JOIN pg_class AS c ON c.oid = contacts
