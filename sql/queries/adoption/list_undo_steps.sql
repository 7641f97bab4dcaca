-- What takes off the contacts table all that was added to it, in order, as the database plans it.
--
-- $1  text[]  the CRMs that are on it
SELECT
    s.crm,
    s.kind,
    s.lock,
    s.statement,
    s.names,
    s.reads
FROM crm_sync.undo_steps($1::text[], TRUE, TRUE) AS s
