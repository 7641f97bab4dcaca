-- The application's own triggers that may set a status, whether their changes are seen (by the trigger crm_sync_catch, if it is
-- enabled), and whether this role may create that trigger.
SELECT
    CASE
        WHEN i.flipped IS NULL THEN '{}'
        ELSE ARRAY(
            SELECT DISTINCT f.name
            FROM crm_sync.flipping_triggers() AS f
            ORDER BY f.name
        )
    END AS triggers,
    i.flipped IS NOT DISTINCT FROM i.caught AS are_seen,
    pg_has_role(c.relowner, 'USAGE')
    AND has_schema_privilege('crm_sync', 'CREATE')
    AND has_function_privilege('crm_sync.create_catch()', 'EXECUTE')
    AND coalesce(
        (
            SELECT pg_has_role(p.proowner, 'USAGE')
            FROM pg_proc AS p
            WHERE p.oid = to_regprocedure('crm_sync.catch_flips()')
        ),
        TRUE
    ) AS may_catch
FROM crm_sync.adopted AS a
JOIN pg_class AS c ON a.contacts = c.oid
CROSS JOIN LATERAL (
    SELECT
        crm_sync.flipped_crms(n.crms) AS flipped,
        crm_sync.caught_crms(n.crms) AS caught
    FROM (SELECT ARRAY(SELECT l.crm FROM crm_sync.lanes AS l WHERE l.installed) AS crms) AS n
) AS i
