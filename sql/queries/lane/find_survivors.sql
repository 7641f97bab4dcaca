-- Which of these records must not be deleted, because an existing contact has them, or is about to get them.
--
-- shared: another row has the record's id, because one person has several rows, or was inserted again and delivered. wanted: a
-- row with the same address or the same key is in line or in flight and has no id yet, so it may get this record at any moment.
-- The key, because a contact may be known to the CRM by something that a deleted row no longer has, such as a phone number.
-- Those with a blank address are different people.
--
-- The address has no index, so contacts in line are read one by one, perhaps a million: all of them once for many tombstones, and
-- before each request only those that were added since. Contacts that are not in line are not about to be sent.
--
-- After a request, those in flight are read once more: one that was sent before it and is not finished yet has the deleted record.
--
-- $1  bigint[]     tombstones
-- $2  text[]       the id in the CRM of each, or NULL
-- $3  text[]       the address that its row had, or NULL
-- $4  timestamptz  of those in line, only those due since then
-- $5  text[]       the key of its row, or NULL
-- $6  boolean      of those in line, only those in flight
WITH in_line AS MATERIALIZED (
    SELECT
        l.key::text AS key,
        c.email
    FROM :line AS l
    CROSS JOIN LATERAL (
        SELECT :email AS email
        FROM :contacts
        WHERE
            :id :is l.key
            AND :due_at = l.due_at
            AND :remote_id IS NULL
            AND (:claimed_by IS NOT NULL OR NOT $6::boolean)
        LIMIT 1
    ) AS c
    WHERE l.due_at >= $4::timestamptz
)

SELECT
    t.id,
    'shared' AS survivor
FROM unnest($1::bigint[], $2::text[]) AS t (id, remote_id)
WHERE EXISTS (SELECT FROM :contacts AS c WHERE c.:remote_id :remote_is t.remote_id:::remote_type)
UNION ALL
SELECT
    t.id,
    'wanted' AS survivor
FROM unnest($1::bigint[], $3::text[]) AS t (id, email)
JOIN in_line AS c ON lower(btrim(c.email)) = lower(btrim(t.email))
WHERE btrim(t.email, E' \t\n\r\f\x0b') <> ''
UNION ALL
SELECT
    t.id,
    'wanted' AS survivor
FROM unnest($1::bigint[], $5::text[]) AS t (id, key)
JOIN in_line AS c ON c.key = t.key
