-- Turns traces on or off: the column, and the line in the triggers that fills it.
--
-- $1  boolean  on
SELECT crm_sync.set_tracing($1::boolean)
