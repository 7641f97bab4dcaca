-- The values of some settings in this session.
--
-- $1  text[]  their names
SELECT
    name,
    setting
FROM pg_settings
WHERE name = ANY ($1::text[])
ORDER BY name
