-- The steps that remove from the contacts table everything that was added, in order, as planned by the database.
--
-- $1  text[]  the CRMs installed on it
SELECT
    s.crm,
    s.kind,
    s.lock,
    s.statement,
    s.names,
    s.reads
FROM crm_sync.undo_steps($1::text[], TRUE, TRUE) AS s
