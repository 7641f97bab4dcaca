-- Writes how much of one account's limits is used, unless another worker has written since it was read: no row then.
--
-- $1  text  crm
-- $2  text  the budget as it was read, NULL if there was none
-- $3  text  the new one
INSERT INTO crm_sync.budgets AS b (crm, budget)
VALUES ($1::text, $3::jsonb)
ON CONFLICT (crm) DO UPDATE SET budget = excluded.budget
WHERE b.budget IS NOT DISTINCT FROM $2::jsonb
RETURNING crm
