-- The age of the snapshot and how long it took, in seconds; NULL if there is none, or it does not include a CRM yet.
SELECT
    extract(EPOCH FROM clock_timestamp() - min(s.at))::float8 AS age_s,
    max(s.took_s) AS took_s
FROM crm_sync.snapshot AS s
