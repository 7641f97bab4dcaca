-- Which of these contacts are still claimed after a finish left them out: the application has locked them, or they have no due
-- time. The others were deleted, or taken over by another worker.
--
-- $1  id[]      the contacts
-- $2  bigint[]  the fencing token of the claim of each
SELECT
    c.:id:as_read AS id,
    c.:due_at IS NOT NULL AS has_due_time
FROM unnest($1:::sent_keys, $2::bigint[]) AS o (id, claimed_by)
JOIN :contacts AS c ON o.id :is c.:id AND o.claimed_by = c.:claimed_by
