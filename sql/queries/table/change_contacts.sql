-- Changes the sync status of contacts of one CRM, as an application would, and returns the result for each that still matches.
--
-- flipped; locked: by another session, which is not waited for; kept: a trigger of the table's owner undid it. No row is returned
-- for a contact that is in another state by now. A contact in flight is changed as by an application: the new status takes effect
-- after the delivery.
--
-- $1  id[]    the contacts
-- $2  text[]  those with these sync statuses; NULL: any
-- $3  text[]  failed with these codes; NULL: any
-- $4  text    the new status: New, Selected, Queued or Skipped
WITH
meant AS MATERIALIZED (
    SELECT c.id
    FROM unnest($1:::sent_keys) AS w (id)
    CROSS JOIN LATERAL (
        SELECT :id AS id
        FROM :contacts
        WHERE
            :id :is w.id
            -- Contacts already in line keep their place.
            AND (:sync_status::text <> $4::text OR ($4::text = 'Queued' AND :due_at IS NULL AND :claimed_by IS NULL))
            AND ($2::text[] IS NULL OR :sync_status::text = ANY ($2::text[]))
            AND ($3::text[] IS NULL OR split_part(left(:processing_error, 40), ':', 1) = ANY ($3::text[]))
    ) AS c
    -- As in claim_contacts.sql, for the table's own triggers.
    WHERE (SELECT set_config('search_path', :'own_path', TRUE)) IS NOT NULL
),

-- Checked again for locked rows, because they may have changed at this very moment. The weaker lock, as in a claim, does not skip
-- a contact that is merely referenced by an open foreign-key insert.
held AS MATERIALIZED (
    SELECT c.id
    FROM meant AS m
    CROSS JOIN LATERAL (
        SELECT :id AS id
        FROM :contacts
        WHERE
            :id :is m.id
            AND (:sync_status::text <> $4::text OR ($4::text = 'Queued' AND :due_at IS NULL AND :claimed_by IS NULL))
            AND ($2::text[] IS NULL OR :sync_status::text = ANY ($2::text[]))
            AND ($3::text[] IS NULL OR split_part(left(:processing_error, 40), ':', 1) = ANY ($3::text[]))
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS c
),

changed AS (
    UPDATE :contacts
    SET :sync_status = $4::text:::sync_type
    WHERE :id :is ANY (ARRAY(SELECT h.id FROM held AS h))
    RETURNING
        :id AS id,
        :sync_status::text AS sync_status
)

-- IN, because it is hashed: a join of a thousand with a thousand may not be.
SELECT
    m.id:as_read AS id,
    CASE
        WHEN m.id IN (SELECT c.id FROM changed AS c WHERE c.sync_status = $4::text) THEN 'flipped'
        WHEN m.id IN (SELECT h.id FROM held AS h) THEN 'kept'
        ELSE 'locked'
    END AS became
FROM meant AS m
