-- Adds one worker's counts to the minute they belong to. There is a row already if the worker stopped within that minute.
--
-- $1  integer  the worker
-- $2  float8   seconds covered by the counts, until now
-- $3  jsonb    by CRM, objects with the columns of crm_sync.minutes
INSERT INTO crm_sync.minutes AS m (
    minute,
    worker,
    crm,
    delivered,
    retried,
    rejected,
    deferred,
    orphaned,
    lost,
    deleted,
    requests,
    throttled,
    unrecorded,
    latency,
    codes,
    strays
)
SELECT
    -- The minute that contains the middle of the counted time.
    date_trunc('minute', clock_timestamp() - make_interval(secs => $2::float8 / 2)),
    $1::integer,
    c.crm,
    c.delivered,
    c.retried,
    c.rejected,
    c.deferred,
    c.orphaned,
    c.lost,
    c.deleted,
    c.requests,
    c.throttled,
    c.unrecorded,
    c.latency,
    c.codes,
    c.strays
FROM
    jsonb_to_recordset($3::jsonb) AS c (
        crm text,
        delivered integer,
        retried integer,
        rejected integer,
        deferred integer,
        orphaned integer,
        lost integer,
        deleted integer,
        requests integer,
        throttled integer,
        unrecorded integer,
        latency integer[],
        codes jsonb,
        strays integer
    )
ON CONFLICT (minute, crm, worker) DO UPDATE
    SET
        delivered = m.delivered + excluded.delivered,
        retried = m.retried + excluded.retried,
        rejected = m.rejected + excluded.rejected,
        deferred = m.deferred + excluded.deferred,
        orphaned = m.orphaned + excluded.orphaned,
        lost = m.lost + excluded.lost,
        deleted = m.deleted + excluded.deleted,
        requests = m.requests + excluded.requests,
        throttled = m.throttled + excluded.throttled,
        unrecorded = m.unrecorded + excluded.unrecorded,
        strays = m.strays + excluded.strays,
        latency = ARRAY(
            SELECT coalesce(b.before, 0) + coalesce(b.now, 0)
            FROM unnest(m.latency, excluded.latency) WITH ORDINALITY AS b (before, now, place)
            ORDER BY b.place
        ),
        codes = (
            SELECT coalesce(jsonb_object_agg(s.code, s.contacts), '{}')
            FROM (
                SELECT
                    b.key AS code,
                    sum(b.value::integer) AS contacts
                FROM (
                    SELECT *
                    FROM jsonb_each_text(m.codes)
                    UNION ALL
                    SELECT *
                    FROM jsonb_each_text(excluded.codes)
                ) AS b
                GROUP BY b.key
            ) AS s
        )
