-- Records the progress of matching for one CRM.
--
-- $1  text     the CRM
-- $2  text     the key of the last contact examined; NULL: none
-- $3  boolean  it has ended
-- $4  bigint   contacts that were looked up in the CRM
-- $5  bigint   of these, those that have their id now
-- $6  bigint   that the CRM does not have
-- $7  bigint   for which it has several records
-- $8  bigint   that were locked, or flipped meanwhile
-- $9  bigint   in addition: without a valid address
UPDATE crm_sync.matching
SET
    after_key = $2::text,
    ended_at = CASE WHEN $3::boolean THEN now() END,
    looked_for = $4::bigint,
    found = $5::bigint,
    unknown = $6::bigint,
    ambiguous = $7::bigint,
    left_alone = $8::bigint,
    unaddressed = $9::bigint
WHERE crm = $1::text
