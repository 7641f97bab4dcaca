-- How old the snapshot is and how long it took, in seconds; NULL where there is none, or a CRM is not in it yet.
SELECT
    extract(EPOCH FROM clock_timestamp() - min(s.at))::float8 AS age_s,
    max(s.took_s) AS took_s
FROM crm_sync.snapshot AS s
