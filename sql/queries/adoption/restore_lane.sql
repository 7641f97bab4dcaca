-- Records a CRM whose triggers are already on the table.
--
-- $1  text  crm
-- $2  text  the column of its id there
INSERT INTO crm_sync.lanes (crm, remote_id_column)
VALUES ($1::text, $2::text)
ON CONFLICT DO NOTHING
