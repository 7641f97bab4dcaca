-- What all workers together did for one CRM, by stretches of time. Empty stretches have no row.
--
-- latency: delivered contacts by the buckets of crm_sync.latency_bounds(), and one beyond.
--
-- $1  text     crm
-- $2  integer  seconds of a stretch
-- $3  integer  number of stretches; the last one is the current one
WITH stretch AS MATERIALIZED (
    SELECT
        to_timestamp(floor(extract(EPOCH FROM statement_timestamp()) / $2::integer) * $2::integer)
        - make_interval(secs => $2::integer * ($3::integer - 1)) AS first
)

SELECT
    to_timestamp(floor(extract(EPOCH FROM m.minute) / $2::integer) * $2::integer) AS at,
    sum(m.delivered)::bigint AS delivered,
    sum(m.retried)::bigint AS retried,
    sum(m.rejected)::bigint AS rejected,
    sum(m.requests)::bigint AS requests,
    sum(m.throttled)::bigint AS throttled,
    ARRAY[
        sum(m.latency[1]), sum(m.latency[2]), sum(m.latency[3]), sum(m.latency[4]), sum(m.latency[5]), sum(m.latency[6]),
        sum(m.latency[7]), sum(m.latency[8]), sum(m.latency[9]), sum(m.latency[10]), sum(m.latency[11]), sum(m.latency[12]),
        sum(m.latency[13]), sum(m.latency[14]), sum(m.latency[15]), sum(m.latency[16]), sum(m.latency[17]), sum(m.latency[18]),
        sum(m.latency[19])
    ]::bigint[] AS latency
FROM crm_sync.minutes AS m
WHERE
    m.crm = $1::text
    AND m.minute >= (SELECT s.first FROM stretch AS s)
GROUP BY 1
ORDER BY 1
