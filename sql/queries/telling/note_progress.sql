-- A worker's report on one lane: its pace, contacts that have been in hand for long, and those the table refuses. It also updates
-- the snapshot with what the worker has finished. Returns when the snapshot was counted, how many seconds ago, and the states that
-- were updated: a number that is locked now is updated the next time.
--
-- $1  text       crm
-- $2  integer    id of the worker
-- $3  integer[]  deliveries in each of the last 60 seconds, the newest first
-- $4  float8     seconds since the latest delivery, or NULL
-- $5  text       limits of the account
-- $6  jsonb      claims in hand: {token: seconds}
-- $7  jsonb      refused contacts: {key: reason}
-- $8  text[]     states,
-- $9  bigint[]   and by how much the number of contacts in each changes
WITH
said AS (
    INSERT INTO crm_sync.progress AS p (crm, worker, at, delivered, delivered_at, limits, claims, refused)
    VALUES (
        $1::text,
        $2::integer,
        clock_timestamp(),
        $3::integer[],
        clock_timestamp() - make_interval(secs => $4::float8),
        $5::text,
        $6::text::jsonb,
        $7::text::jsonb
    )
    ON CONFLICT (crm, worker) DO UPDATE
    SET
        at = excluded.at,
        delivered = excluded.delivered,
        delivered_at = excluded.delivered_at,
        limits = excluded.limits,
        claims = excluded.claims,
        refused = excluded.refused
),

free AS MATERIALIZED (
    SELECT
        s.crm,
        s.state,
        m.change
    FROM crm_sync.snapshot AS s
    JOIN unnest($8::text[], $9::bigint[]) AS m (state, change) ON s.state = m.state
    WHERE s.crm = $1::text
    FOR NO KEY UPDATE OF s SKIP LOCKED
),

moved AS (
    UPDATE crm_sync.snapshot AS s
    SET contacts = GREATEST(0, s.contacts + f.change)
    FROM free AS f
    WHERE
        s.crm = f.crm
        AND s.state = f.state
    RETURNING s.state
)

SELECT
    (SELECT max(s.at) FROM crm_sync.snapshot AS s WHERE s.crm = $1::text) AS counted_at,
    (
        SELECT extract(EPOCH FROM clock_timestamp() - max(s.at))::float8 FROM crm_sync.snapshot AS s WHERE s.crm = $1::text
    ) AS counted_ago_s,
    ARRAY(SELECT m.state FROM moved AS m) AS moved
