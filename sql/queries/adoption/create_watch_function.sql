-- Recreates the function of a watch, because it contains the number of its lane.
--
-- $1  text  crm
SELECT crm_sync.create_watch_function($1::text)
