-- Flips contacts whose record in the CRM differs, as an application would, and returns the result for each that has not changed
-- since it was compared.
--
-- flipped; locked: by another session, which is not waited for; kept: a trigger of the table's owner undid it. A contact that was
-- flipped, claimed, delivered or withdrawn since it was read is left unchanged, and no row is returned for it.
--
-- $1  id[]         the contacts
-- $2  timestamptz  when they were read
WITH
meant AS MATERIALIZED (
    SELECT c.id
    FROM unnest($1:::sent_keys) AS w (id)
    CROSS JOIN LATERAL (
        SELECT :id AS id
        FROM :contacts
        WHERE
            :id :is w.id
            AND :claimed_by IS NULL
            AND :due_at IS NULL
            AND :sync_status = 'Complete'
            AND (GREATEST(:flipped_at, :synced_at) > $2::timestamptz) IS NOT TRUE
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
            AND :claimed_by IS NULL
            AND :due_at IS NULL
            AND :sync_status = 'Complete'
            AND (GREATEST(:flipped_at, :synced_at) > $2::timestamptz) IS NOT TRUE
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS c
),

changed AS (
    UPDATE :contacts
    SET :sync_status = 'Queued'
    WHERE :id :is ANY (ARRAY(SELECT h.id FROM held AS h))
    RETURNING
        :id AS id,
        :sync_status::text AS sync_status
)

-- IN, because it is hashed: a join of a thousand with a thousand may not be.
SELECT
    m.id:as_read AS id,
    CASE
        WHEN m.id IN (SELECT c.id FROM changed AS c WHERE c.sync_status = 'Queued') THEN 'flipped'
        WHEN m.id IN (SELECT h.id FROM held AS h) THEN 'kept'
        ELSE 'locked'
    END AS became
FROM meant AS m
