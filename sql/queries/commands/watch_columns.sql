-- Makes the database flip contacts of one CRM whenever one of these columns changes.
--
-- $1  text    crm
-- $2  text[]  the columns, which replace the previous ones
SELECT crm_sync.watch($1::text, $2::text[])
