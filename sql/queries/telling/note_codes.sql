-- Records when failure codes were seen, and how often: a contact that is retried fails several times. In a fixed order, so that
-- no two workers deadlock.
--
-- $1  text[]    CRMs, one for each code
-- $2  text[]    codes
-- $3  bigint[]  failures with each code
-- $4  float8    seconds without an occurrence after which a code counts as new
INSERT INTO crm_sync.alert_codes AS c (crm, code, new_since, seen_at, contacts)
SELECT
    n.crm,
    n.code,
    statement_timestamp(),
    statement_timestamp(),
    n.contacts
FROM unnest($1::text[], $2::text[], $3::bigint[]) AS n (crm, code, contacts)
ORDER BY
    n.crm,
    n.code
ON CONFLICT (crm, code) DO UPDATE SET
    new_since = CASE
        WHEN c.seen_at < statement_timestamp() - make_interval(secs => $4::float8) THEN excluded.new_since
        ELSE c.new_since
    END,
    contacts = excluded.contacts + CASE
        WHEN c.seen_at < statement_timestamp() - make_interval(secs => $4::float8) THEN 0
        ELSE c.contacts
    END,
    seen_at = excluded.seen_at
