-- How many contacts are in each state, as last counted and updated since, and how long ago they were counted.
SELECT
    s.crm,
    s.state,
    s.contacts,
    s.latest,
    s.at,
    s.took_s,
    extract(EPOCH FROM statement_timestamp() - s.at)::float8 AS age_s
FROM crm_sync.snapshot AS s
