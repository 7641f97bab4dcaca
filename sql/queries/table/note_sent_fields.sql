-- Records which fields of claimed contacts are about to be sent, because the worker may die and the request still arrive. Only
-- for contacts with a field that is sent for the first time. What was sent to another record that the row had before is forgotten.
--
-- Contacts locked by the application are left out, as in finish_contacts.sql. Unlike a claim, the record must survive a crash of
-- the server, because the request does.
--
-- $1  id[]      the contacts
-- $2  bigint[]  the fields that each will have in the CRM in addition to earlier ones, a bit for each
-- $3  bigint    the fencing token of their claim
WITH noted AS (
    SELECT
        n.id,
        n.sent_fields
    FROM unnest($1:::sent_keys, $2::bigint[]) AS n (id, sent_fields)
    WHERE
        (SELECT set_config('search_path', :'own_path', TRUE)) IS NOT NULL
        AND (SELECT set_config('crm_sync.writes', :'crm', TRUE)) IS NOT NULL
        AND (SELECT set_config('lock_timeout', '300ms', TRUE)) IS NOT NULL
        AND (SELECT set_config('synchronous_commit', 'on', TRUE)) IS NOT NULL
),

held AS (
    SELECT
        c.locator,
        n.sent_fields
    FROM noted AS n
    CROSS JOIN LATERAL (
        SELECT :locator AS locator
        FROM :contacts
        WHERE
            :id :is n.id
            AND :claimed_by = $3::bigint
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS c
)

UPDATE :contacts AS c
SET
    :sent_fields = CASE
        WHEN c.:sent_to = :'numbering' || coalesce(c.:remote_id::text, '') THEN coalesce(c.:sent_fields, 0)
        ELSE 0
    END | h.sent_fields,
    :sent_to = :'numbering' || coalesce(c.:remote_id::text, '')
FROM held AS h
WHERE c.:locator :locator_is h.locator
RETURNING c.:id:as_read AS id
