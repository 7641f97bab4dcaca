-- How many rows crm-sync's smallest tables have, for the planner. Autovacuum never counts so few, and for a table that was never
-- counted the planner expects hundreds: each look at the columns of the contacts table would then read the whole of pg_attribute.
ANALYZE (SKIP_LOCKED) crm_sync.adopted, crm_sync.lanes
