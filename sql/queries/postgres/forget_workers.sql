-- Takes workers off the registry, with what they held: they ended well, or all they had in flight is back in line.
--
-- $1  integer[]  ids of the workers
WITH freed AS (
    DELETE FROM crm_sync.permits
    WHERE worker = ANY ($1::integer[])
)

DELETE FROM crm_sync.workers
WHERE id = ANY ($1::integer[])
