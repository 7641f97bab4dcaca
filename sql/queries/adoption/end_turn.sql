-- Releases the lock, so that another session may migrate or adopt.
SELECT pg_advisory_unlock(:adoption_lock, 0)
