-- Takes the lock of a worker that is not alone. Refused: another one is alone, and may have requests whose addresses are not locked.
SELECT pg_try_advisory_lock_shared(:address_seed, 0)
