-- Takes the lock of the only worker, besides the shared one that it has. Refused: another worker has that, too. Given back where
-- another one lives anyway: a session that is not a worker has kept it from the shared one.
SELECT
    CASE
        WHEN NOT pg_try_advisory_lock(:address_seed, 0) THEN FALSE
        -- Looked at after it was taken: who comes later sees the lock.
        WHEN EXISTS (SELECT FROM crm_sync.living_workers AS w WHERE w.pid <> pg_backend_pid())
            THEN NOT pg_advisory_unlock(:address_seed, 0)
        ELSE TRUE
    END AS is_alone
