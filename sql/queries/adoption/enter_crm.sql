-- Enters a CRM that is to be on the contacts table, before any step: run again after it was interrupted, it is wanted still.
--
-- $1  text  crm
INSERT INTO crm_sync.lanes (crm, remote_id_column)
VALUES ($1::text, crm_sync.remote_id_column($1::text))
