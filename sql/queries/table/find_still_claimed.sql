-- Which of these contacts are still claimed after a finish left them out: the application has locked them. The others were
-- deleted, or taken over by another worker.
--
-- $1  id[]      the contacts
-- $2  bigint[]  the fencing token of the claim of each
SELECT c.:id:as_read AS id
FROM unnest($1:::sent_keys, $2::bigint[]) AS o (id, claimed_by)
JOIN :contacts AS c ON o.id :is c.:id AND o.claimed_by = c.:claimed_by
