-- Records that a migration is applied, as yoyo does.
--
-- $1  text  its hash
-- $2  text  its name
INSERT INTO crm_sync._crm_sync_migration (migration_hash, migration_id, applied_at_utc)
VALUES ($1::text, $2::text, clock_timestamp() AT TIME ZONE 'UTC')
ON CONFLICT DO NOTHING
