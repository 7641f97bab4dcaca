-- How some settings of this session stand.
--
-- $1  text[]  their names
SELECT
    name,
    setting
FROM pg_settings
WHERE name = ANY ($1::text[])
ORDER BY name
