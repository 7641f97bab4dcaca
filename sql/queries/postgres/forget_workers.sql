-- Removes workers from the registry, with everything they held: they ended normally, or all their contacts in flight are back in
-- line.
--
-- $1  integer[]  ids of the workers
WITH freed AS (
    DELETE FROM crm_sync.permits
    WHERE worker = ANY ($1::integer[])
)

DELETE FROM crm_sync.workers
WHERE id = ANY ($1::integer[])
