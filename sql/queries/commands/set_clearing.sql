-- Turns clearing on or off for a CRM: the columns of the contacts table that record which fields were sent to it.
--
-- $1  text     the CRM
-- $2  boolean  on
SELECT crm_sync.set_clearing($1::text, $2::boolean)
