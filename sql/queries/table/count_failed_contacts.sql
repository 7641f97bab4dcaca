-- The failed contacts of one CRM by code, NULL if the reason has none. The index of failures finds them.
--
-- The time of a failure is not recorded per CRM: last_retry_at is the last failure in any CRM, and last_failed_crm which one. So
-- the time is known if this CRM was the last; otherwise it lies between two others. A flip clears the reason, so a contact in
-- Error failed after its flip, and after its last delivery (a contact waiting for a retry can have been flipped since, by a
-- watch). And it failed before the last failure in any CRM, and before the end of its wait. A Complete contact lacks a field, or
-- was not changed, since its delivery.
--
-- in_error, waiting, complete: those that failed since $1. uncertain: those in in_error and waiting that may have failed earlier.
-- undated: in addition, those whose time is unknown. prefixes: the index entries of these reasons.
--
-- $1  timestamptz  failed since; NULL: ever
-- $2  id[]         of these contacts; NULL: of all
WITH
failed AS (
    SELECT
        split_part(left(:processing_error, 40), ':', 1) AS prefix,
        :processing_error AS error,
        -- A contact with none of these statuses is withdrawn, or in flight.
        CASE
            WHEN :claimed_by IS NOT NULL THEN NULL
            WHEN :sync_status = 'Error' THEN 'error'
            WHEN :sync_status = 'Queued' THEN 'waiting'
            WHEN :sync_status = 'Complete' AND :processing_error ~ '^(FIELD_NOT_SENT|ALREADY_THERE):' THEN 'complete'
        END AS state,
        CASE
            WHEN :sync_status = 'Complete' THEN :synced_at
            WHEN last_failed_crm = :'crm' THEN last_retry_at
        END AS failed_at,
        GREATEST(:synced_at, CASE WHEN :sync_status = 'Error' THEN :flipped_at END) AS failed_after,
        LEAST(last_retry_at, CASE WHEN :sync_status = 'Queued' THEN :due_at END) AS failed_before
    FROM :contacts
    WHERE
        :processing_error IS NOT NULL
        AND ($2:::sent_keys IS NULL OR :id :is ANY ($2:::sent_keys))
),

judged AS (
    SELECT
        f.*,
        -- A worker writes NO_CODE if a client gave no code.
        CASE WHEN f.prefix ~ '^([A-Za-z][A-Za-z0-9_-]{0,38}|[0-9]{3})$' AND f.prefix <> 'NO_CODE' THEN f.prefix END AS code,
        CASE
            WHEN $1::timestamptz IS NULL THEN 'since'
            WHEN GREATEST(f.failed_at, f.failed_after) >= $1::timestamptz THEN 'since'
            WHEN f.failed_at IS NOT NULL THEN 'before'
            WHEN f.failed_before >= $1::timestamptz THEN 'uncertain'
            WHEN f.failed_before IS NULL THEN 'undated'
            ELSE 'before'
        END AS time
    FROM failed AS f
)

SELECT
    code,
    count(*) FILTER (WHERE state = 'error' AND time IN ('since', 'uncertain')) AS in_error,
    count(*) FILTER (WHERE state = 'waiting' AND time IN ('since', 'uncertain')) AS waiting,
    count(*) FILTER (WHERE state = 'complete' AND time IN ('since', 'uncertain')) AS complete,
    count(*) FILTER (WHERE state IS NOT NULL AND time = 'uncertain') AS uncertain,
    count(*) FILTER (WHERE state IS NOT NULL AND time = 'undated') AS undated,
    array_agg(DISTINCT prefix) AS prefixes,
    min(error) FILTER (WHERE state IS NOT NULL AND time IN ('since', 'uncertain')) AS sample
FROM judged
GROUP BY code
ORDER BY code NULLS LAST
