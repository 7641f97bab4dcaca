-- The contacts of one CRM with a failure reason, by code, with a sample of each and the latest known failure. The index of
-- failures finds each code by a step from the previous one; at most this many contacts are examined for all codes together.
-- Contacts in Error without a reason are in no index.
--
-- is_least: there are more. failed_at is known for contacts that have not failed in another CRM since; is_known: for all of them.
--
-- $1  integer  contacts
-- $2  integer  codes
WITH RECURSIVE
code AS (
    (
        SELECT
            split_part(left(:processing_error, 40), ':', 1) AS prefix,
            1 AS number
        FROM :contacts
        WHERE :processing_error IS NOT NULL
        ORDER BY split_part(left(:processing_error, 40), ':', 1)
        LIMIT 1
    )
    UNION ALL
    SELECT
        following.prefix,
        c.number + 1
    FROM code AS c
    CROSS JOIN LATERAL (
        SELECT split_part(left(:processing_error, 40), ':', 1) AS prefix
        FROM :contacts
        WHERE
            :processing_error IS NOT NULL
            AND split_part(left(:processing_error, 40), ':', 1) > c.prefix
        ORDER BY split_part(left(:processing_error, 40), ':', 1)
        LIMIT 1
    ) AS following
    WHERE c.number < $2::integer
),

share AS (
    SELECT greatest(1, $1::integer / greatest(1, count(*)))::integer AS contacts
    FROM code
)

SELECT
    c.prefix AS code,
    f.contacts,
    f.in_error,
    f.sample,
    f.contacts >= s.contacts AS is_least,
    f.failed_at,
    f.is_known,
    f.last_error
FROM code AS c
CROSS JOIN share AS s
CROSS JOIN LATERAL (
    SELECT
        count(*) AS contacts,
        count(*) FILTER (WHERE l.is_error) AS in_error,
        min(l.error) AS sample,
        max(l.failed_at) AS failed_at,
        bool_and(l.failed_at IS NOT NULL) AS is_known,
        (array_agg(l.error ORDER BY l.failed_at DESC) FILTER (WHERE l.failed_at IS NOT NULL))[1] AS last_error
    FROM (
        SELECT
            :processing_error AS error,
            :sync_status = 'Error' AND :claimed_by IS NULL AS is_error,
            CASE
                WHEN last_failed_crm = :'crm' AND last_retry_at BETWEEN '1970-01-01' AND '9000-01-01' THEN last_retry_at
            END AS failed_at
        FROM :contacts
        WHERE
            :processing_error IS NOT NULL
            AND split_part(left(:processing_error, 40), ':', 1) = c.prefix
        LIMIT (SELECT o.contacts FROM share AS o)
    ) AS l
) AS f
ORDER BY f.contacts DESC, c.prefix
