-- Empties what is kept no longer: as its function says.
--
-- $1  integer  days that history is kept
SELECT
    emptied,
    busy,
    full_slots,
    missing
FROM crm_sync.tidy_history($1::integer)
