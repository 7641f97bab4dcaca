-- Takes the lock of the only worker, beside the shared one that it has. Refused: another worker has that, too.
SELECT pg_try_advisory_lock(:address_seed, 0)
