-- Notes down what is about to be sent of claimed contacts, before it is: for the worker may die, and the request still land. Only of
-- contacts with a field that was never sent of them.
--
-- Contacts locked by the application are left out, as in finish_contacts.sql. What is noted down has to outlive a crash of the server
-- too, unlike a claim: the request does.
--
-- $1  id[]      the contacts
-- $2  bigint[]  the fields that each will have in the CRM in addition to earlier ones, a bit for each
-- $3  bigint    the fencing token of their claim
WITH noted AS (
    SELECT
        n.id,
        n.sent_fields
    FROM unnest($1:::id_type[], $2::bigint[]) AS n (id, sent_fields)
    WHERE
        (SELECT set_config('search_path', :'own_path', TRUE)) IS NOT NULL
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
SET :sent_fields = coalesce(c.:sent_fields, 0) | h.sent_fields
FROM held AS h
WHERE c.:locator :locator_is h.locator
RETURNING c.:id AS id
