-- A view over everything that the mapping reads. Postgres records what the expressions of a view read; this one is rolled back
-- before another session sees it.
CREATE TEMPORARY VIEW crm_sync_mapping AS
SELECT
    :mapped
FROM :contacts
