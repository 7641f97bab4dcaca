-- Enters the contacts table as the adopted one: all that follows reads it here.
--
-- $1  oid      the table
-- $2  name     the column that finds a row alone
-- $3  name     the column with the address
-- $4  boolean  crm-sync has made the table
INSERT INTO crm_sync.adopted (contacts, key_column, email_column, created, schema_name, table_name)
SELECT
    c.oid,
    $2::name,
    $3::name,
    $4::boolean,
    n.nspname,
    c.relname
FROM pg_class AS c
JOIN pg_namespace AS n ON c.relnamespace = n.oid
WHERE c.oid = $1::oid
