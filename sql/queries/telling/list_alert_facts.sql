-- The facts behind alerts, one row per CRM. Bounded: two hours of minutes, and the oldest ten thousand deletions.
--
-- $1  float8  seconds over which outcomes are counted
-- $2  float8  seconds over which flips that no trigger saw are counted
-- $3  float8  seconds after which a deletion counts as stuck
WITH
oldest_deletions AS MATERIALIZED (
    SELECT
        t.crm,
        t.deleted_at
    FROM crm_sync.tombstones AS t
    ORDER BY t.id
    LIMIT 10001
)

SELECT
    l.crm,
    clock_timestamp() AS now,
    current_database()::text AS database,
    l.breaker,
    l.breaker_since,
    l.breaker_reason,
    l.openings,
    l.held_since,
    l.held_reason,
    CASE WHEN w.is_alive THEN l.fault END AS fault,
    CASE WHEN w.is_alive THEN l.fault_since END AS fault_since,
    coalesce(m.finished, 0)::bigint AS finished,
    coalesce(m.failed, 0)::bigint AS failed,
    coalesce(m.strays, 0)::bigint AS strays,
    m.strays_since,
    m.last_minute,
    d.stuck,
    d.stuck_since,
    (SELECT b.budget::text FROM crm_sync.budgets AS b WHERE b.crm = l.crm) AS budget
FROM crm_sync.lanes AS l
CROSS JOIN LATERAL (
    SELECT EXISTS (SELECT FROM crm_sync.living_workers AS v WHERE v.id = l.fault_worker) AS is_alive
) AS w
CROSS JOIN LATERAL (
    SELECT
        sum(o.finished) FILTER (WHERE o.minute > clock_timestamp() - make_interval(secs => $1::float8)) AS finished,
        sum(o.failed) FILTER (WHERE o.minute > clock_timestamp() - make_interval(secs => $1::float8)) AS failed,
        sum(o.strays) FILTER (WHERE o.minute > clock_timestamp() - make_interval(secs => $2::float8)) AS strays,
        min(o.minute) FILTER (
            WHERE o.strays > 0 AND o.minute > clock_timestamp() - make_interval(secs => $2::float8)
        ) AS strays_since,
        max(o.minute) FILTER (WHERE o.finished > 0) AS last_minute
    FROM (
        SELECT
            i.minute,
            i.strays,
            i.retried + i.rejected AS failed,
            i.delivered + i.retried + i.rejected AS finished
        FROM crm_sync.minutes AS i
        WHERE i.crm = l.crm AND i.minute > clock_timestamp() - interval '2 hours'
    ) AS o
) AS m
CROSS JOIN LATERAL (
    SELECT
        count(*) AS stuck,
        min(t.deleted_at) AS stuck_since
    FROM oldest_deletions AS t
    WHERE t.crm = l.crm AND t.deleted_at < clock_timestamp() - make_interval(secs => $3::float8)
) AS d
WHERE l.installed OR w.is_alive
ORDER BY l.id
