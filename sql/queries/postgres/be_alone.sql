-- Takes the lock of the only worker, in addition to the shared one. Refused if another worker also holds the shared one. Released
-- again if another worker is alive anyway: a session that is not a worker may have kept it from taking the shared lock.
SELECT
    CASE
        WHEN NOT pg_try_advisory_lock(:address_seed, 0) THEN FALSE
        -- Checked after taking it: a worker that joins later sees the lock.
        WHEN EXISTS (SELECT FROM crm_sync.living_workers AS w WHERE w.pid <> pg_backend_pid())
            THEN NOT pg_advisory_unlock(:address_seed, 0)
        ELSE TRUE
    END AS is_alone
