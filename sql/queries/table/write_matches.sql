-- Gives contacts their ids in the CRM, if they still have none and are not in line, where a delivery gives them theirs. Rows
-- locked by another session are left alone.
--
-- $1  id[]    the contacts
-- $2  text[]  the id of each in the CRM
WITH
found AS (
    SELECT
        c.:id AS id,
        f.remote_id
    FROM unnest($1:::sent_keys, $2::text[]) AS f (id, remote_id)
    JOIN :contacts AS c ON c.:id :is f.id
    WHERE
        c.:remote_id IS NULL
        AND c.:claimed_by IS NULL
        AND c.:due_at IS NULL
    FOR :finish_lock OF c SKIP LOCKED
)

UPDATE :contacts AS c
SET :remote_id = f.remote_id:::remote_type
FROM found AS f
WHERE c.:id :is f.id
RETURNING c.:id:as_read AS id
