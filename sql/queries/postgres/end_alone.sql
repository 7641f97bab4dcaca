-- Gives up the lock of the only worker. Anyone who waits for it to claim may do so.
SELECT pg_advisory_unlock(:address_seed, 0)
