-- What is still to be done to the contacts table, in order, as the database plans it.
--
-- $1  text[]  the CRMs that are to be on it
SELECT
    s.crm,
    s.kind,
    s.lock,
    s.statement,
    s.names,
    s.reads
FROM crm_sync.missing_steps($1::text[], TRUE) AS s
