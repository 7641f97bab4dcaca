-- What a full look may have to repair in one stretch of the contacts table: the claims of contacts in flight, whether any of
-- these has no due time, and whether a contact is due in the future although it was just flipped, because the clock was set back.
--
-- No index can find these, hence stretches of the heap, each a short statement.
--
-- $1  bigint  first page
-- $2  bigint  the page after the last
SELECT
    array_agg(DISTINCT :claimed_by) FILTER (WHERE :claimed_by IS NOT NULL) AS claims,
    coalesce(bool_or(:claimed_by IS NOT NULL AND :due_at IS NULL), FALSE) AS without_due_time,
    coalesce(
        bool_or(
            :claimed_by IS NULL
            AND :sync_status = 'Queued'
            AND :due_at > clock_timestamp()
            AND :flipped_at > clock_timestamp() + interval '1 s'
        ),
        FALSE
    ) AS early
FROM :contacts
WHERE
    ctid >= format('(%s,0)', $1::bigint)::tid
    AND ctid < format('(%s,0)', $2::bigint)::tid
    AND (:claimed_by IS NOT NULL OR :flipped_at > clock_timestamp())
