-- Releases the lock of the only worker. Workers that wait for this may claim now.
SELECT pg_advisory_unlock(:address_seed, 0)
