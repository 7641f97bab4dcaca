-- Takes the addresses for a request that is about to start, and returns those that another worker has under way. For CRMs that
-- make two records of one address in two requests at once. Held by the session: a worker that dies frees them.
--
-- $1  text     the CRM
-- $2  text[]   addresses, folded
SELECT address
FROM unnest($2::text[]) AS a (address)
WHERE NOT pg_try_advisory_lock(hashtextextended($1::text || ' ' || address, 1668443500))
