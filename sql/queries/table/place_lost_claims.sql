-- Gives contacts in flight that have no due time one, as a claim leaves them: a copied row may lack it. Apart from their release, for
-- which the trigger would take what it finds there else for an old row's.
--
-- $1  bigint    first page
-- $2  bigint    the page after the last
-- $3  bigint[]  claims of no living worker
UPDATE :contacts
SET :due_at = clock_timestamp()
WHERE
    ctid >= format('(%s,0)', $1::bigint)::tid
    AND ctid < format('(%s,0)', $2::bigint)::tid
    -- As in claim_contacts.sql, for triggers of the table's own.
    AND (SELECT set_config('search_path', :'own_path', TRUE)) IS NOT NULL
    AND :claimed_by = ANY ($3::bigint[])
    AND :due_at IS NULL
