-- Unlocks the addresses of a request that has ended.
--
-- $1  text     the CRM
-- $2  text[]   addresses, folded, all of them held by this session
SELECT count(*) FILTER (WHERE pg_advisory_unlock(hashtextextended($1::text || ' ' || address, :address_seed))) AS unlocked
FROM unnest($2::text[]) AS a (address)
