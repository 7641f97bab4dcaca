-- What happened, and what people did, the latest first.
--
-- $1  text         events of this CRM, and those of all CRMs; NULL: any
-- $2  text[]       of these kinds; NULL: of any
-- $3  timestamptz  before this one; NULL: from the latest
-- $4  uuid         its id
-- $5  integer      at most this many
-- $6  timestamptz  not before; NULL: no limit
SELECT
    e.at,
    e.id,
    e.event,
    e.crm,
    e.actor,
    e.via,
    e.role,
    e.worker,
    e.details::text AS details
FROM crm_sync.events AS e
WHERE
    ($1::text IS NULL OR e.crm = $1::text OR e.crm IS NULL)
    AND ($2::text[] IS NULL OR e.event = ANY ($2::text[]))
    AND ($3::timestamptz IS NULL OR (e.at, e.id) < ($3::timestamptz, $4::uuid))
    AND ($6::timestamptz IS NULL OR e.at >= $6::timestamptz)
ORDER BY
    e.at DESC,
    e.id DESC
LIMIT $5::integer
