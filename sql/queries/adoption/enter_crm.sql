-- Records a CRM that is to be installed on the contacts table, before any step, so that an interrupted adoption still includes it
-- when run again.
--
-- $1  text  crm
INSERT INTO crm_sync.lanes (crm, remote_id_column)
VALUES ($1::text, crm_sync.remote_id_column($1::text))
