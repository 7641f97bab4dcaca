-- Records what happens to deleted contacts in one CRM whose trigger for that is already on the table.
--
-- $1  text  crm
-- $2  text  delete or erase
UPDATE crm_sync.lanes
SET on_delete = $2::text
WHERE crm = $1::text
