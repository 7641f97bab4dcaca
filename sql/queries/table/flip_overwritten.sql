-- Flips contacts of one CRM whose record may have been overwritten with an older state, and returns the result for each contact
-- whose request may have done that.
--
-- The contact to flip is the one flipped last among those with this record and this address, ignoring case and whitespace. Those
-- without an address have their record in common with any address. It is looked up by the key of the contact that was sent, and
-- by the record. If it is in line it will be sent anyway; if it was withdrawn or failed it is left alone. If it is in flight it
-- is flipped too, and sent once more, because its request may have arrived first. A contact that is Processing and free is one
-- whose claim the application has ended by writing our columns: no worker would look at it again.
--
-- Returns those for which a contact is to be flipped, with its id, and as text when the application flipped it: see
-- keep_flip_times.sql. flipped; locked: not yet, because the application has locked the row, and is not waited for.
--
-- $1  id[]           contacts that were sent
-- $2  text[]         the record of each, or NULL
-- $3  boolean[]      whether its claim was lost; otherwise it was only late, so it need not be sent again itself
-- $4  integer[]      its attempts, as the claim returned them
-- $5  timestamptz[]  when it was flipped, likewise. If both are unchanged and it is free, no worker has claimed it since: its
--                    finish was written, and only the answer to that was lost
-- $6  bigint[]       which fields may have been written, a bit for each; only if fields are emptied (:clears)
WITH
sent AS (
    SELECT
        s.number,
        s.id,
        s.record,
        s.is_lost AND c.is_untouched IS NOT TRUE AS is_lost,
\if :clears
        s.landed,
\endif
        c.address
    FROM
        unnest(
            $1:::sent_keys, $2::text[], $3::boolean[], $4::integer[], $5::timestamptz[]
\if :clears
            , $6::bigint[]
\endif
        ) WITH ORDINALITY AS s (
            id, record, is_lost, attempts, flipped_at
\if :clears
            , landed
\endif
            , number
        )
    LEFT JOIN LATERAL (
        SELECT
            coalesce(lower(btrim(:email::text, E' \t\n\r\f\x0b')), '') AS address,
            :claimed_by IS NULL
            AND :attempts = s.attempts
            AND :flipped_at = s.flipped_at
            AND :sync_status <> 'Processing' AS is_untouched
        FROM :contacts
        WHERE :id :is s.id
    ) AS c ON TRUE
    WHERE
        -- For the table's own triggers.
        (SELECT set_config('search_path', :'own_path', TRUE)) IS NOT NULL
        -- Nearly all that are late have their record for themselves. OFFSET, so that each is looked up by its record.
        AND (
            s.is_lost
            OR EXISTS (
                SELECT
                FROM :contacts
                WHERE
                    :remote_id :remote_is s.record:::remote_type
                    AND :remote_id IS NOT NULL
                    AND :id :is_not s.id
                OFFSET 0
            )
        )
),

-- At most a hundred contacts of each record are examined, because an id that is in every row is not an id.
holder AS (
    SELECT
        s.number,
        s.is_lost AND c.id :is s.id AS is_itself,
        -- Of one whose address is unknown, each address is looked at.
        CASE WHEN s.address IS NULL THEN c.address END AS apart,
        c.*
    FROM sent AS s
    CROSS JOIN LATERAL (
        SELECT
            :id AS id,
            coalesce(lower(btrim(:email::text, E' \t\n\r\f\x0b')), '') AS address,
            :sync_status AS sync_status,
            :claimed_by AS claimed_by,
            :flipped_at AS flipped_at
        FROM :contacts
        WHERE :id :is s.id
        UNION ALL
        (
            SELECT
                :id AS id,
                coalesce(lower(btrim(:email::text, E' \t\n\r\f\x0b')), '') AS address,
                :sync_status AS sync_status,
                :claimed_by AS claimed_by,
                :flipped_at AS flipped_at
            FROM :contacts
            WHERE
                :remote_id :remote_is s.record:::remote_type
                AND :remote_id IS NOT NULL
                AND :id :is_not s.id
            LIMIT 100
        )
    ) AS c
    -- If the contact that was sent no longer exists, its address is unknown.
    WHERE c.id :is s.id OR c.address = s.address OR '' IN (c.address, s.address) OR (s.address IS NULL AND s.is_lost)
),

last AS (
    SELECT DISTINCT ON (h.number, h.apart)
        h.number,
        h.id,
        h.sync_status,
        h.claimed_by
    FROM holder AS h
    WHERE h.sync_status IN ('Complete', 'Processing', 'Queued')
    ORDER BY h.number, h.apart, h.flipped_at DESC NULLS LAST, h.is_itself DESC
),

overwritten AS (
    SELECT
        l.number,
        l.id
    FROM last AS l
    JOIN sent AS s ON l.number = s.number
    WHERE
        (s.is_lost OR l.id :is_not s.id)
        AND (
            (l.claimed_by IS NULL AND l.sync_status = 'Complete')
            OR (l.sync_status = 'Processing' AND (l.claimed_by IS NOT NULL OR l.id :is s.id))
        )
),

held AS MATERIALIZED (
    SELECT
        c.id,
        c.flipped_at,
        c.record
    FROM (SELECT DISTINCT o.id FROM overwritten AS o) AS o
    CROSS JOIN LATERAL (
        SELECT
            :id AS id,
            :flipped_at AS flipped_at,
            :remote_id::text AS record
        FROM :contacts
        WHERE
            :id :is o.id
            AND (
                (:claimed_by IS NULL AND :sync_status = 'Complete')
                OR :sync_status = 'Processing'
            )
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS c
),

\if :clears
-- Only what has landed in the record that the row has.
landed AS (
    SELECT
        h.id,
        bit_or(s.landed) AS fields
    FROM held AS h
    JOIN overwritten AS o ON h.id :is o.id
    JOIN sent AS s ON o.number = s.number AND o.id :is s.id
    WHERE
        s.landed <> 0
        AND (s.record IS NULL OR h.record IS NULL OR s.record = h.record)
    GROUP BY h.id
),

\endif
flipped AS (
    UPDATE :contacts AS c
    SET
        :sync_status = 'Queued'
\if :clears
        , (:sent_fields, :sent_to) = (
            SELECT
                CASE
                    WHEN l.fields IS NULL THEN c.:sent_fields
                    WHEN c.:sent_to = :'numbering' || coalesce(c.:remote_id::text, '') THEN coalesce(c.:sent_fields, 0) | l.fields
                    ELSE l.fields
                END,
                CASE WHEN l.fields IS NULL THEN c.:sent_to ELSE :'numbering' || coalesce(c.:remote_id::text, '') END
            FROM (SELECT) AS one
            LEFT JOIN landed AS l ON l.id :is c.:id
        )
\endif
    WHERE c.:id :is ANY (ARRAY(SELECT h.id FROM held AS h))
    RETURNING c.:id AS id
)

SELECT
    o.number::integer - 1 AS place,
    o.id :is ANY (ARRAY(SELECT f.id FROM flipped AS f)) AS is_flipped,
    o.id:as_read AS id,
    h.flipped_at::text AS flipped_at
FROM overwritten AS o
LEFT JOIN held AS h ON o.id :is h.id
