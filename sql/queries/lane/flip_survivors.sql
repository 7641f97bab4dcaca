-- Flips contacts that live on although the record they are delivered to has been deleted, or may have been: they are sent once
-- more, and get a record again. Returns those that were found for each deletion, as flip_overwritten.sql does.
--
-- They are the rows with the record's id. Where no id is known, they are the row with the same key and, if an index finds it, those
-- with the same address.
--
-- What is in line will be sent anyway; what was withdrawn or has failed is left alone. What is in flight is flipped too, because
-- its request may have arrived first. flipped; locked: not yet, because the application has locked the row, and is not waited
-- for. At most a hundred contacts of each are examined, because an id that is in every row is not an id.
--
-- $1  bigint[]  tombstones
-- $2  text[]    the id of each record, or NULL
-- $3  text[]    where it is NULL, the key of the row that was deleted
-- $4  text[]    and the address that it had, or NULL
WITH
holder AS (
    SELECT
        t.id AS tombstone,
        c.id
    FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[]) AS t (id, record, key, address)
    CROSS JOIN LATERAL (
        (
            SELECT
                :id AS id,
                :sync_status AS sync_status
            FROM :contacts
            WHERE
                :remote_id :remote_is t.record:::remote_type
                AND :remote_id IS NOT NULL
            LIMIT 100
        )
        UNION ALL
        (
            SELECT
                :id AS id,
                :sync_status AS sync_status
            FROM :contacts
            WHERE :id :is t.key:::id_type
            LIMIT 1
        )
\if :by_exact_address
        UNION ALL
        (
            SELECT
                :id AS id,
                :sync_status AS sync_status
            FROM :contacts
            WHERE
                :email :email_is btrim(t.address, E' \t\n\r\f\x0b')::text:::email_type
                AND btrim(t.address, E' \t\n\r\f\x0b') <> ''
            LIMIT 100
        )
\endif
\if :by_lower_address
        UNION ALL
        (
            SELECT
                :id AS id,
                :sync_status AS sync_status
            FROM :contacts
            WHERE
                lower(:email::text) = lower(btrim(t.address, E' \t\n\r\f\x0b'))
                AND btrim(t.address, E' \t\n\r\f\x0b') <> ''
            LIMIT 100
        )
\endif
    ) AS c
    WHERE
        c.sync_status IN ('Complete', 'Processing')
        -- For the table's own triggers.
        AND (SELECT set_config('search_path', :'own_path', TRUE)) IS NOT NULL
),

held AS MATERIALIZED (
    SELECT
        c.id,
        c.flipped_at
    FROM (SELECT DISTINCT h.id FROM holder AS h) AS h
    CROSS JOIN LATERAL (
        SELECT
            :id AS id,
            :flipped_at AS flipped_at
        FROM :contacts
        WHERE
            :id :is h.id
            AND :sync_status IN ('Complete', 'Processing')
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS c
),

flipped AS (
    UPDATE :contacts AS c
    SET :sync_status = 'Queued'
    WHERE c.:id :is ANY (ARRAY(SELECT h.id FROM held AS h))
    RETURNING c.:id AS id
)

SELECT
    h.tombstone,
    h.id :is ANY (ARRAY(SELECT f.id FROM flipped AS f)) AS is_flipped,
    h.id:as_read AS id,
    l.flipped_at::text AS flipped_at
FROM holder AS h
LEFT JOIN held AS l ON h.id :is l.id
