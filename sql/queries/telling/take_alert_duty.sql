-- Whether this worker is on duty for alerts: the one named in the row, as long as it is alive. Does not wait for a locked row,
-- because the next look is soon.
--
-- $1  integer  id of the worker
WITH
free AS MATERIALIZED (
    SELECT d.one
    FROM crm_sync.alert_duty AS d
    WHERE
        d.worker IS DISTINCT FROM $1::integer
        AND NOT EXISTS (SELECT FROM crm_sync.living_workers AS w WHERE w.id = d.worker)
    FOR NO KEY UPDATE SKIP LOCKED
),

taken AS (
    UPDATE crm_sync.alert_duty
    SET worker = $1::integer
    WHERE one IN (SELECT f.one FROM free AS f)
    RETURNING one
),

-- A database restored without rows has no row here.
missing AS (
    INSERT INTO crm_sync.alert_duty (worker)
    SELECT $1::integer
    WHERE NOT EXISTS (SELECT FROM crm_sync.alert_duty AS d)
    ON CONFLICT DO NOTHING
    RETURNING one
)

SELECT
    EXISTS (SELECT FROM taken)
    OR EXISTS (SELECT FROM missing)
    OR EXISTS (SELECT FROM crm_sync.alert_duty AS d WHERE d.worker = $1::integer) AS is_ours
