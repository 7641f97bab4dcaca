-- A view over all that the mapping reads. Postgres knows best what an expression reads, and notes it down for views; this one is
-- rolled back before anyone sees it.
CREATE TEMPORARY VIEW crm_sync_mapping AS
SELECT
    :mapped
FROM :contacts
