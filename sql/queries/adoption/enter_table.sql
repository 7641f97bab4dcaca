-- Records the contacts table as the adopted one, where everything else reads it. Its name is recorded afterwards (note_name.sql),
-- because an older schema, restored from a dump without rows, has no column for it yet.
--
-- $1  oid      the table
-- $2  name     the column that identifies a row
-- $3  name     the column with the address
-- $4  boolean  crm-sync has made the table
INSERT INTO crm_sync.adopted (contacts, key_column, email_column, created)
VALUES ($1::oid, $2::name, $3::name, $4::boolean)
