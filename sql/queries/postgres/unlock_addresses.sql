-- Gives the addresses of an ended request free again.
--
-- $1  text     the CRM
-- $2  text[]   addresses, folded, all of them held by this session
SELECT count(*) FILTER (WHERE pg_advisory_unlock(hashtextextended($1::text || ' ' || address, 1668443500))) AS unlocked
FROM unnest($2::text[]) AS a (address)
