-- Deletes expired history; see the function.
--
-- $1  integer  days for which history is kept
SELECT
    emptied,
    busy,
    full_slots,
    missing
FROM crm_sync.tidy_history($1::integer)
