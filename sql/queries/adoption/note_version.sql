-- Records the version of yoyo's own tables, as yoyo does.
--
-- $1  integer  their version
INSERT INTO crm_sync._yoyo_version (version, installed_at_utc)
VALUES ($1::integer, clock_timestamp() AT TIME ZONE 'UTC')
