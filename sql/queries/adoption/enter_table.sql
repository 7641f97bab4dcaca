-- Enters the contacts table as the adopted one: all that follows reads it here.
--
-- $1  oid      the table
-- $2  name     the column that finds a row alone
-- $3  name     the column with the address
-- $4  boolean  crm-sync has made the table
INSERT INTO crm_sync.adopted (contacts, key_column, email_column, created)
VALUES ($1::oid, $2, $3, $4)
