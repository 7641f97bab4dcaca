-- Flips contacts again that were flipped in what is now the future, for the clock was set back since: so they are due now. In one
-- stretch of the table. Those that wait for a retry after a failure wait on: their time was chosen.
--
-- $1  bigint  first page
-- $2  bigint  the page after the last
WITH early AS MATERIALIZED (
    SELECT :locator AS locator
    FROM :contacts
    WHERE
        ctid >= format('(%s,0)', $1::bigint)::tid
        AND ctid < format('(%s,0)', $2::bigint)::tid
        -- As in claim_contacts.sql, for triggers of the table's own.
        AND (SELECT set_config('search_path', :'own_path', TRUE)) IS NOT NULL
        AND :claimed_by IS NULL
        AND :sync_status = 'Queued'
        AND :due_at > clock_timestamp()
        AND :flipped_at > clock_timestamp() + interval '1 s'
    FOR NO KEY UPDATE SKIP LOCKED
)

UPDATE :contacts
SET :sync_status = 'Queued'
WHERE :locator :locator_is ANY (ARRAY(SELECT e.locator FROM early AS e))
RETURNING 1 AS flipped
