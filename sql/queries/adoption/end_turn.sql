-- The next one may migrate or adopt.
SELECT pg_advisory_unlock(:adoption_lock, 0)
