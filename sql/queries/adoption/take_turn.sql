-- Only one session migrates or adopts at a time. The lock lasts as long as the session, so a killed process leaves nothing
-- locked.
SELECT pg_try_advisory_lock(:adoption_lock, 0) AS is_ours
