-- One page of contacts in key order, or the named ones, with their state in one CRM, to be compared with its records.
--
-- state: `delivered`, or why it is not compared: `in line` (or in flight), `shared`, or `undelivered`. Shared: another row has
-- its record, and may have been sent last. At most a hundred such rows are examined, because an id that every row has is not an
-- id.
--
-- $1  text     after the contact with this key; NULL: from the first
-- $2  id[]     these contacts
-- $3  integer  at most this many
SELECT
    c.:id:as_read AS id,
    c.:id::text AS key,
    c.:remote_id::text AS remote_id,
    left(c.:processing_error, 1000) AS error,
    CASE
        WHEN c.:claimed_by IS NOT NULL OR c.:due_at IS NOT NULL OR c.:sync_status = 'Queued' THEN 'in line'
        WHEN c.:sync_status <> 'Complete' THEN 'undelivered'
        WHEN EXISTS (
            SELECT
            FROM (
                SELECT
                    o.:id AS id,
                    o.:flipped_at AS flipped_at,
                    o.:sync_status::text AS sync_status
                FROM :contacts AS o
                WHERE o.:remote_id :remote_is c.:remote_id
                LIMIT 100
            ) AS o
            WHERE
                o.id :is_not c.:id
                AND o.sync_status IN ('Complete', 'Queued', 'Processing')
                AND coalesce(o.flipped_at, '-infinity') >= coalesce(c.:flipped_at, '-infinity')
        ) THEN 'shared'
        ELSE 'delivered'
    END AS state,
    -- Whether it was delivered or flipped since.
    concat_ws(' ', c.:synced_at::text, c.:flipped_at::text) AS version,
    clock_timestamp() AS read_at
FROM :contacts AS c
WHERE
    -- As in claim_contacts.sql, for the table's own functions.
    (SELECT set_config('search_path', :'own_path', TRUE)) IS NOT NULL
\if :begins
    AND $1::text IS NULL AND $2:::sent_keys IS NULL
\endif
\if :goes_on
    AND c.:id :is_after $1::text:::id_type AND $2:::sent_keys IS NULL
\endif
\if :named
    AND $1::text IS NULL AND c.:id :is ANY ($2:::sent_keys)
\endif
ORDER BY c.:id
LIMIT $3::integer
