-- Takes workers off the registry: they ended well, or all they had in flight is back in line.
--
-- $1  integer[]  ids of the workers
DELETE FROM crm_sync.workers
WHERE id = ANY ($1::integer[])
