-- Stores the counts as the snapshot. Changes reported by workers during the count are applied to it, too. Reports of workers that
-- are gone are deleted.
--
-- $1  text[]         CRMs
-- $2  text[]         the state in each
-- $3  bigint[]       contacts
-- $4  timestamptz[]  the latest delivery of them
-- $5  bigint[]       contacts as the snapshot had them when the pass began, 0 if it had none
-- $6  timestamptz    when the pass began
-- $7  float8         seconds that it took
WITH
counted AS (
    SELECT
        crm,
        state,
        contacts,
        latest,
        before
    FROM
        unnest($1::text[], $2::text[], $3::bigint[], $4::timestamptz[], $5::bigint[]) AS c (crm, state, contacts, latest, before)
),

gone AS (
    DELETE FROM crm_sync.progress
    WHERE worker NOT IN (SELECT w.id FROM crm_sync.workers AS w)
),

left_over AS (
    DELETE FROM crm_sync.snapshot
    WHERE (crm, state) NOT IN (SELECT c.crm, c.state FROM counted AS c)
)

INSERT INTO crm_sync.snapshot AS s (crm, state, contacts, latest, at, took_s)
SELECT
    c.crm,
    c.state,
    c.contacts,
    c.latest,
    $6::timestamptz,
    $7::float8
FROM counted AS c
ORDER BY c.crm, c.state
ON CONFLICT (crm, state) DO UPDATE
SET
    contacts = GREATEST(0, excluded.contacts + s.contacts - (SELECT c.before FROM counted AS c WHERE c.crm = s.crm AND c.state = s.state)),
    latest = excluded.latest,
    at = excluded.at,
    took_s = excluded.took_s
