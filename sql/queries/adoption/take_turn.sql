-- One migrates or adopts at a time. Held for the session's life, so that anyone who is killed leaves nothing locked.
SELECT pg_try_advisory_lock(:adoption_lock, 0) AS is_ours
