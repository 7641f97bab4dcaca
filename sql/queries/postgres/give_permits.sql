-- Returns permits, so that other workers can take them.
--
-- $1  integer    id of the worker
-- $2  integer    id of the lane; NULL: of all lanes
-- $3  integer[]  their numbers; NULL: all
DELETE FROM crm_sync.permits
WHERE
    worker = $1::integer
    AND lane = coalesce($2::integer, lane)
    AND ($3::integer[] IS NULL OR number = ANY ($3::integer[]))
