-- One CRM's contacts by state, in one pass over the table.
--
-- ready counts what could be claimed now; waiting what has its time still to come; wanted all that is to be in the CRM, whether
-- it is there already or not. States of the table's own are none of these. delivering_s is how long ago the first delivery of the
-- last minute was.
SELECT
    count(*) FILTER (WHERE :sync_status::text = 'New') AS new,
    count(*) FILTER (WHERE :sync_status::text = 'Selected') AS selected,
    count(*) FILTER (WHERE :sync_status::text = 'Skipped') AS skipped,
    count(*) FILTER (
        WHERE :sync_status = 'Queued' AND :claimed_by IS NULL AND :due_at <= statement_timestamp()
    ) AS ready,
    count(*) FILTER (
        WHERE :sync_status = 'Queued' AND :claimed_by IS NULL AND :due_at > statement_timestamp()
    ) AS waiting,
    count(*) FILTER (WHERE :claimed_by IS NOT NULL) AS in_flight,
    count(*) FILTER (WHERE :sync_status = 'Complete') AS complete,
    count(*) FILTER (WHERE :sync_status = 'Error') AS error,
    count(*) FILTER (WHERE :sync_status IN ('Queued', 'Processing', 'Complete', 'Error')) AS wanted,
    extract(
        EPOCH FROM statement_timestamp() - min(:due_at) FILTER (
            WHERE :sync_status = 'Queued' AND :claimed_by IS NULL AND :due_at <= statement_timestamp()
        )
    )::float8 AS oldest_ready_s,
    count(*) FILTER (WHERE :synced_at > statement_timestamp() - interval '1 minute') AS delivered_last_minute,
    extract(
        EPOCH FROM statement_timestamp() - min(:synced_at) FILTER (
            WHERE :synced_at > statement_timestamp() - interval '1 minute'
        )
    )::float8 AS delivering_s,
    -- One that nobody can mean, no driver can read.
    max(:synced_at) FILTER (WHERE :synced_at BETWEEN '1970-01-01' AND '9000-01-01') AS last_delivered_at
FROM :contacts
