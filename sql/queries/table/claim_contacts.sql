-- Claims ready contacts of one CRM and returns what is to be sent: some fresh ones, if any are wanted, and otherwise the oldest.
--
-- The line says where to look, the row decides. The line is left unchanged: it also represents its row in flight, until a finish
-- removes it. LATERAL forces a plan that looks up each row by its key.
--
-- The weaker row lock is used because the strong one would skip a contact that is merely referenced by an open foreign-key
-- insert. Rows are updated by their locator, the ctid, which is stable because this statement has locked them, and which forces a
-- TID scan. In a partitioned table a ctid is unique only within a partition, so the key is used instead.
--
-- $1  integer      at most this many
-- $2  bigint       the claim's fencing token
-- $3  timestamptz  start here in the order of service: earlier contacts were claimed, and their dead entries cost time
-- $4  id[]         not these: the table refused to have them claimed
-- $5  boolean      this claim is the probe
-- $6  integer      at most this many of them fresh
-- $7  timestamptz  contacts due since then are fresh; NULL: none are
--
-- Without :fully, no contact is fresh, and it is not said how many rows a trigger has kept. That is for the usual contact, which
-- comes alone: the server takes longer to start a plan than to claim one row, and this one is a third smaller.
WITH
-- Takes the lock of the UPDATE below, and changes nothing. Statements lock a table as it occurs in them. With the lock of FOR UPDATE
-- first, an application that builds an index and then alters the table in one transaction would wait for this statement, which waits
-- for it: a deadlock, and perhaps it would be the victim.
table_lock AS (
    UPDATE :contacts
    SET :claimed_by = :claimed_by
    WHERE FALSE
),

-- No worker calls a CRM that is paused by hand; while its breaker is not closed, only the probe does. All workers share this:
-- what one worker gave back, no other sends. Also, a claim that arrives after its worker is dead and forgotten would create
-- orphans that no worker looks for.
open_lane AS MATERIALIZED (
    SELECT
    FROM crm_sync.lanes AS l
    WHERE
        l.crm = :'crm'
        AND l.held_since IS NULL
        AND (l.breaker = 'closed' OR $5::boolean)
        AND EXISTS (SELECT FROM crm_sync.workers AS w WHERE w.id = $2::bigint >> 32)
        -- This statement was parsed with our search_path. The table's own triggers, and functions called by the mapping, run with
        -- the role's search_path, as for any application.
        AND (SELECT set_config('search_path', :'own_path', TRUE)) IS NOT NULL
        -- What they flip in this transaction, they flip because of it: see 0023.trigger-loops.sql.
        AND (SELECT set_config('crm_sync.writes', :'crm', TRUE)) IS NOT NULL
),

\if :fully
-- In order of service among themselves. If none are wanted, the limit is zero, and nothing is examined.
fresh AS MATERIALIZED (
    SELECT c.locator
    FROM :line AS l
    CROSS JOIN LATERAL (
        SELECT :locator AS locator
        FROM :contacts
        WHERE
            :id :is l.key
            AND :due_at = l.due_at
            AND :claimed_by IS NULL
            AND :sync_status = 'Queued'
            AND :id :is_not ALL ($4:::sent_keys)
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS c
    WHERE
        l.due_at > $7::timestamptz
        AND l.due_at <= statement_timestamp()
        AND EXISTS (SELECT FROM open_lane)
    ORDER BY l.due_at
    LIMIT $6::integer
),

\endif
-- These fill the remaining room. A row locked by this transaction is not skipped as locked, so it is excluded explicitly.
oldest AS MATERIALIZED (
    SELECT c.locator
    FROM :line AS l
    CROSS JOIN LATERAL (
        SELECT :locator AS locator
        FROM :contacts
        WHERE
            :id :is l.key
            AND :due_at = l.due_at
            AND :claimed_by IS NULL
            AND :sync_status = 'Queued'
            AND :id :is_not ALL ($4:::sent_keys)
\if :fully
            AND :locator :locator_is_not ALL (ARRAY(SELECT f.locator FROM fresh AS f))
\endif
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS c
    WHERE
        l.due_at >= $3::timestamptz
        AND l.due_at <= statement_timestamp()
        AND EXISTS (SELECT FROM open_lane)
    ORDER BY l.due_at
    LIMIT $1::integer
\if :fully
        - (SELECT count(*) FROM fresh)
\endif
)

\if :fully
, claimed AS (
\endif
    UPDATE :contacts
    SET
        :sync_status = 'Processing',
        :processing_status = 'Processing',
        :attempts = :attempts + 1,
        :claimed_by = $2::bigint
    WHERE :locator :locator_is ANY (ARRAY(
        SELECT o.locator
        FROM oldest AS o
\if :fully
        UNION ALL
        SELECT f.locator
        FROM fresh AS f
\endif
    ))
    RETURNING
        :id:as_read AS id,
        -- Who may write any column can write a time that drivers cannot read: such a contact comes first in line.
        GREATEST(:due_at, '0001-01-01 00:00:00+00') AS due_at,
        :attempts,
        :remote_id::text AS remote_id,
        -- NULL if it was flipped when it became due, as most are: the driver needs longer for a time than for all the texts. Also NULL
        -- after a flip that no trigger saw, and if drivers cannot read it.
        CASE WHEN :flipped_at BETWEEN '1970-01-01' AND '9000-01-01' THEN NULLIF(:flipped_at, :due_at) END AS flipped_at,
        -- FALSE if a trigger of the table has taken the claim back, or part of it.
        coalesce(:claimed_by = $2::bigint AND :sync_status = 'Processing', FALSE) AS is_held,
        -- Why it is sent again and again, if a trigger of the table flips it because it is: see 0023.trigger-loops.sql.
        CASE WHEN starts_with(:processing_error::text, 'TRIGGER_LOOP:') THEN :processing_error::text END AS loop,
        :trace AS trace,
        :mapped
\if :fully
),

-- How many rows a trigger of the table has kept as they were: it returned NULL. Rows that somebody else wrote after this statement
-- began are not claimed either, and come with the next claim: their new version is locked, but this statement does not see it.
-- Not a subquery of the SELECT, which Postgres would lock first.
kept AS (
    SELECT
        CASE
            WHEN n.locked = n.claimed THEN 0
            ELSE (
                SELECT count(*)
                FROM (SELECT f.locator FROM fresh AS f UNION ALL SELECT o.locator FROM oldest AS o) AS l
                WHERE EXISTS (SELECT FROM :contacts WHERE :locator :locator_is l.locator OFFSET 0)
            ) - n.claimed
        END AS kept
    FROM
        (
            SELECT
                (SELECT count(*) FROM fresh) + (SELECT count(*) FROM oldest) AS locked,
                (SELECT count(*) FROM claimed) AS claimed
        ) AS n
)

-- One row without a contact if none was claimed.
SELECT
    c.*,
    k.kept
FROM kept AS k
LEFT JOIN claimed AS c ON TRUE
\endif
