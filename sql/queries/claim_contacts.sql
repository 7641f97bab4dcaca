-- Claims ready contacts of one CRM and returns what is to be sent.
--
-- The weaker row lock, because the strong one skips a contact that merely has an open foreign-key insert pointing at it.
-- By ctid: the rows are locked by this very statement, and no plan but a TID scan can come of it.
--
-- $1  integer      at most so many
-- $2  bigint       the claim's fencing token
-- $3  timestamptz  start here in the order of service: what lies before was claimed, and its dead entries cost time
-- $4  id[]         not these: the table refused to have them claimed
UPDATE :contacts
SET
    :sync_status = 'Processing',
    :processing_status = 'Processing',
    :attempts = :attempts + 1,
    :claimed_by = $2::bigint
WHERE ctid = ANY (
    ARRAY(
        SELECT ctid
        FROM :contacts
        WHERE
            :due_at >= $3::timestamptz
            AND :due_at <= statement_timestamp()
            -- A pause is everybody's: what one worker gave back, no other sends.
            AND NOT EXISTS (
                SELECT FROM crm_sync.lanes AS l WHERE l.crm = :'crm' AND l.paused_until > statement_timestamp()
            )
            AND :claimed_by IS NULL
            AND :sync_status = 'Queued'
            AND :id <> ALL ($4:::id_type[])
        ORDER BY :due_at
        LIMIT $1::integer
        FOR NO KEY UPDATE SKIP LOCKED
    )
)
RETURNING
    :id,
    :due_at,
    :attempts,
    :remote_id,
    -- A flip that no trigger saw has none.
    coalesce(:flipped_at, :due_at) AS flipped_at,
    :mapped
