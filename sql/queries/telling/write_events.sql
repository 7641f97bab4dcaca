-- Records events.
--
-- $1  float8[]   seconds ago
-- $2  text[]     what
-- $3  text[]     the CRM, or NULL
-- $4  text       who
-- $5  text       through what: command, worker, console
-- $6  integer    the worker, or NULL
-- $7  text[]     details, each a JSON object
INSERT INTO crm_sync.events (at, event, crm, actor, via, worker, details)
SELECT
    clock_timestamp() - make_interval(secs => e.ago_s),
    e.event,
    e.crm,
    $4::text,
    $5::text,
    $6::integer,
    e.details::jsonb
FROM unnest($1::float8[], $2::text[], $3::text[], $7::text[]) AS e (ago_s, event, crm, details)
