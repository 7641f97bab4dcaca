-- Adds what became of contacts in this worker: by CRM, and by failure code. In one order, so that no two workers wait for each other.
--
-- $1  text[]    CRMs
-- $2  bigint[]  contacts of each whose outcome was written
-- $3  bigint[]  of these, failed or rejected
-- $4  bigint[]  contacts of each whose flip no trigger saw
-- $5  text[]    CRMs, one for each code
-- $6  text[]    codes
-- $7  bigint[]  contacts with each code
-- $8  float8    seconds without it after which a code is new
WITH
minutes AS (
    INSERT INTO crm_sync.alert_minutes AS m (crm, minute, finished, failed, strays)
    SELECT
        o.crm,
        date_trunc('minute', statement_timestamp()),
        o.finished,
        o.failed,
        o.strays
    FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[]) AS o (crm, finished, failed, strays)
    ORDER BY o.crm
    ON CONFLICT (crm, minute) DO UPDATE SET
        finished = m.finished + excluded.finished,
        failed = m.failed + excluded.failed,
        strays = m.strays + excluded.strays
)

INSERT INTO crm_sync.alert_codes AS c (crm, code, new_since, seen_at, contacts)
SELECT
    n.crm,
    n.code,
    statement_timestamp(),
    statement_timestamp(),
    n.contacts
FROM unnest($5::text[], $6::text[], $7::bigint[]) AS n (crm, code, contacts)
ORDER BY
    n.crm,
    n.code
ON CONFLICT (crm, code) DO UPDATE SET
    new_since = CASE
        WHEN c.seen_at < statement_timestamp() - make_interval(secs => $8::float8) THEN excluded.new_since
        ELSE c.new_since
    END,
    contacts = excluded.contacts + CASE
        WHEN c.seen_at < statement_timestamp() - make_interval(secs => $8::float8) THEN 0
        ELSE c.contacts
    END,
    seen_at = excluded.seen_at
