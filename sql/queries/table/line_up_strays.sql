-- Repairs what the trigger did not see (disabled, replica role, a bulk load) in one stretch of the table: contacts that are
-- Queued are put in line, contacts in line that are not Queued are removed from it. Returns how many, and how many the
-- application has locked.
--
-- A contact in line that says Processing in both columns has lost its claim: a trigger of the table took it back, or somebody emptied
-- the column. The application did not withdraw it, so it is Queued again, as by queue_unclaimed.sql.
--
-- No index can find these, hence stretches of the heap, each a short statement.
--
-- $1  bigint  first page
-- $2  bigint  the page after the last
WITH
seen AS MATERIALIZED (
    SELECT :locator AS locator
    FROM :contacts
    WHERE
        ctid >= format('(%s,0)', $1::bigint)::tid
        AND ctid < format('(%s,0)', $2::bigint)::tid
        -- As in claim_contacts.sql, for the table's own triggers.
        AND (SELECT set_config('search_path', :'own_path', TRUE)) IS NOT NULL
        AND :claimed_by IS NULL
        AND coalesce(:sync_status = 'Queued', FALSE) <> (:due_at IS NOT NULL)
),

stray AS MATERIALIZED (
    SELECT
        :locator AS locator,
        coalesce(:sync_status = 'Processing' AND :processing_status = 'Processing', FALSE) AS lost_claim
    FROM :contacts
    WHERE
        :locator :locator_is ANY (ARRAY(SELECT s.locator FROM seen AS s))
        AND :claimed_by IS NULL
        AND coalesce(:sync_status = 'Queued', FALSE) <> (:due_at IS NOT NULL)
    FOR NO KEY UPDATE SKIP LOCKED
),

queued AS (
    UPDATE :contacts
    SET :sync_status = 'Queued'
    WHERE :locator :locator_is ANY (ARRAY(SELECT s.locator FROM stray AS s WHERE s.lost_claim))
    RETURNING 1
),

repaired AS (
    UPDATE :contacts
    SET
        :processing_status = CASE WHEN :sync_status = 'Queued' THEN 'Queued'::text END:::processing_type,
        :processing_error = NULL,
        :attempts = 0,
        :due_at = CASE WHEN :sync_status = 'Queued' THEN clock_timestamp() END,
        :flipped_at = CASE WHEN :sync_status = 'Queued' THEN clock_timestamp() ELSE :flipped_at END
    WHERE :locator :locator_is ANY (ARRAY(SELECT s.locator FROM stray AS s WHERE NOT s.lost_claim))
    RETURNING 1
)

SELECT
    (SELECT count(*) FROM repaired) + (SELECT count(*) FROM queued) AS repaired,
    (SELECT count(*) FROM seen) - (SELECT count(*) FROM stray) AS locked
