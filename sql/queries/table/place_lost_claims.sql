-- Gives contacts in flight without a due time one, and a line, as a claim leaves them: a copied row may lack it. This is a
-- separate statement from the release, because otherwise the trigger would take the row for a stale one. Rows locked by the
-- application are left unchanged.
--
-- $1  bigint    first page
-- $2  bigint    the page after the last
-- $3  bigint[]  claims of no living worker
WITH
held AS MATERIALIZED (
    SELECT :locator AS locator
    FROM :contacts
    WHERE
        ctid >= format('(%s,0)', $1::bigint)::tid
        AND ctid < format('(%s,0)', $2::bigint)::tid
        -- As in claim_contacts.sql, for the table's own triggers.
        AND (SELECT set_config('search_path', :'own_path', TRUE)) IS NOT NULL
        AND :claimed_by = ANY ($3::bigint[])
        AND :due_at IS NULL
    FOR NO KEY UPDATE SKIP LOCKED
),

placed AS (
    UPDATE :contacts
    SET :due_at = clock_timestamp()
    WHERE :locator :locator_is ANY (ARRAY(SELECT h.locator FROM held AS h))
    RETURNING
        :id AS id,
        :due_at AS due_at
)

INSERT INTO :line (due_at, key)
SELECT
    p.due_at,
    p.id
FROM placed AS p
WHERE p.due_at IS NOT NULL
