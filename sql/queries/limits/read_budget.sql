-- How much of one account's limits all workers together have used, by the database's clock.
--
-- $1  text  crm
SELECT
    (SELECT budget::text FROM crm_sync.budgets WHERE crm = $1::text) AS budget,
    extract(EPOCH FROM clock_timestamp())::float8 AS now
