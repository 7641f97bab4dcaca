-- The progress of matching for one CRM. A matching that has ended begins again.
--
-- $1  text     the CRM
-- $2  boolean  begin again in any case
INSERT INTO crm_sync.matching AS m (crm)
VALUES ($1::text)
ON CONFLICT (crm) DO UPDATE SET
    after_key = CASE WHEN m.ended_at IS NULL AND NOT $2::boolean THEN m.after_key END,
    began_at = CASE WHEN m.ended_at IS NULL AND NOT $2::boolean THEN m.began_at ELSE now() END,
    looked_for = CASE WHEN m.ended_at IS NULL AND NOT $2::boolean THEN m.looked_for ELSE 0 END,
    found = CASE WHEN m.ended_at IS NULL AND NOT $2::boolean THEN m.found ELSE 0 END,
    unknown = CASE WHEN m.ended_at IS NULL AND NOT $2::boolean THEN m.unknown ELSE 0 END,
    ambiguous = CASE WHEN m.ended_at IS NULL AND NOT $2::boolean THEN m.ambiguous ELSE 0 END,
    left_alone = CASE WHEN m.ended_at IS NULL AND NOT $2::boolean THEN m.left_alone ELSE 0 END,
    unaddressed = CASE WHEN m.ended_at IS NULL AND NOT $2::boolean THEN m.unaddressed ELSE 0 END,
    ended_at = NULL
RETURNING
    m.after_key,
    m.looked_for,
    m.found,
    m.unknown,
    m.ambiguous,
    m.left_alone,
    m.unaddressed
