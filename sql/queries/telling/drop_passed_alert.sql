-- Deletes an alert that passed before anyone was told.
--
-- $1  integer  id of the worker on duty
-- $2  bigint   id of the alert
DELETE FROM crm_sync.alerts
WHERE
    id = $2::bigint
    AND raised_at IS NULL
    AND EXISTS (SELECT FROM crm_sync.alert_duty AS d WHERE d.worker = $1::integer)
