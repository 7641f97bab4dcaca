-- The remaining steps on the contacts table, in order, as planned by the database.
--
-- $1  text[]  the CRMs to be installed on it
SELECT
    s.crm,
    s.kind,
    s.lock,
    s.statement,
    s.names,
    s.reads
FROM crm_sync.missing_steps($1::text[], TRUE) AS s
