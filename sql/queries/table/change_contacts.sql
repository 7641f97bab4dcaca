-- Changes the sync status of contacts of one CRM, as an application would, and says what became of each that is still as it was meant.
--
-- flipped; locked: by somebody else, who is not waited for; kept: a trigger of the table's owner let the row be as it was. For a contact
-- that is in another state by now no row is returned. One in flight is changed as an application may: the word counts after it.
--
-- $1  id[]    the contacts
-- $2  text[]  those with these words in the sync status; NULL: with any
-- $3  text[]  failed with these codes; NULL: whatever the reason
-- $4  text    what it becomes: New, Selected, Queued or Skipped
WITH
meant AS MATERIALIZED (
    SELECT c.id
    FROM unnest($1:::id_type[]) AS w (id)
    CROSS JOIN LATERAL (
        SELECT :id AS id
        FROM :contacts
        WHERE
            :id :is w.id
            -- What is in line already keeps its place.
            AND (:sync_status::text <> $4::text OR ($4::text = 'Queued' AND :due_at IS NULL AND :claimed_by IS NULL))
            AND ($2::text[] IS NULL OR :sync_status::text = ANY ($2::text[]))
            AND ($3::text[] IS NULL OR split_part(left(:processing_error, 40), ':', 1) = ANY ($3::text[]))
    ) AS c
    -- As in claim_contacts.sql, for triggers of the table's own.
    WHERE (SELECT set_config('search_path', :'own_path', TRUE)) IS NOT NULL
),

-- Asked again of what is locked, because it may have changed in this very moment. The weaker lock, as in a claim: it steps over
-- no contact that merely has an open foreign-key insert pointing at it.
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

SELECT
    m.id,
    CASE
        WHEN m.id IN (SELECT c.id FROM changed AS c WHERE c.sync_status = $4::text) THEN 'flipped'
        WHEN m.id IN (SELECT h.id FROM held AS h) THEN 'kept'
        ELSE 'locked'
    END AS became
FROM meant AS m
