-- Flips contacts again whose flip is in the future because the clock was set back since, so that they are due now. In one stretch
-- of the table. Contacts that wait for a retry keep waiting: their time was chosen. The trigger adds the new lines; this
-- statement removes the old ones.
--
-- $1  bigint  first page
-- $2  bigint  the page after the last
WITH
early AS MATERIALIZED (
    SELECT
        :locator AS locator,
        :due_at AS was_due_at
    FROM :contacts
    WHERE
        ctid >= format('(%s,0)', $1::bigint)::tid
        AND ctid < format('(%s,0)', $2::bigint)::tid
        -- As in claim_contacts.sql, for the table's own triggers.
        AND (SELECT set_config('search_path', :'own_path', TRUE)) IS NOT NULL
        AND :claimed_by IS NULL
        AND :sync_status = 'Queued'
        AND :due_at > clock_timestamp()
        AND :flipped_at > clock_timestamp() + interval '1 s'
    FOR NO KEY UPDATE SKIP LOCKED
),

flipped AS (
    UPDATE :contacts AS c
    SET :sync_status = 'Queued'
    FROM early AS e
    WHERE c.:locator :locator_is e.locator
    RETURNING
        c.:id AS id,
        c.:due_at AS due_at,
        e.was_due_at
),

-- As in finish_contacts.sql. If no trigger saw the flip, the due time is unchanged.
ended AS (
    DELETE FROM :line
    WHERE
        ctid = ANY (
            ARRAY(
                SELECT l.locator
                FROM flipped AS f
                CROSS JOIN LATERAL (
                    SELECT ctid AS locator
                    FROM :line
                    WHERE
                        due_at = f.was_due_at
                        AND key :is f.id
                    OFFSET 0
                ) AS l
                WHERE f.due_at IS DISTINCT FROM f.was_due_at
            )
        )
)

SELECT 1 AS flipped
FROM flipped
