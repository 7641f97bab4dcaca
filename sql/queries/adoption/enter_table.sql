-- Enters the contacts table as the adopted one: all that follows reads it here. What its name is comes after it (note_name.sql), for
-- where the schema is an older one, whose rows a dump has lost, there is no place for that yet.
--
-- $1  oid      the table
-- $2  name     the column that identifies a row
-- $3  name     the column with the address
-- $4  boolean  crm-sync has made the table
INSERT INTO crm_sync.adopted (contacts, key_column, email_column, created)
VALUES ($1::oid, $2::name, $3::name, $4::boolean)
