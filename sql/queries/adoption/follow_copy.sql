-- Another table has replaced the adopted one, and is the contacts table from now on.
--
-- $1  oid  the table
UPDATE crm_sync.adopted
SET contacts = $1::oid
