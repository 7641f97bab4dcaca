-- Gives contacts in flight without a due time one, and a line, as a claim leaves them: the column was dropped and put back. Then they
-- can be finished. Rows locked by the application are left unchanged.
--
-- $1  id[]      the contacts
-- $2  bigint[]  the fencing token of the claim of each
WITH
held AS MATERIALIZED (
    SELECT c.locator
    FROM unnest($1:::sent_keys, $2::bigint[]) AS o (id, claimed_by)
    CROSS JOIN LATERAL (
        SELECT :locator AS locator
        FROM :contacts
        WHERE
            :id :is o.id
            AND :claimed_by = o.claimed_by
            AND :due_at IS NULL
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS c
    -- As in claim_contacts.sql, for the table's own triggers.
    WHERE (SELECT set_config('search_path', :'own_path', TRUE)) IS NOT NULL
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
