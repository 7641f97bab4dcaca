DO $comment$
BEGIN
    EXECUTE format(
        'COMMENT ON SCHEMA crm_sync IS %L',
        replace(obj_description('crm_sync'::regnamespace, 'pg_namespace'), ' And 1668443513 who counts all contacts.', '')
    );
END;
$comment$;

DROP FUNCTION crm_sync.why(text);
DROP FUNCTION crm_sync.attempt_facts(text, text);
DROP FUNCTION crm_sync.row_facts(text, text);
DROP FUNCTION crm_sync.lane_facts(text);
DROP FUNCTION crm_sync.line_facts(text, text, timestamptz);
DROP FUNCTION crm_sync.operators_of(regclass, text);
DROP FUNCTION crm_sync.lock_facts(xid);
DROP FUNCTION crm_sync.count_contacts();
DROP FUNCTION crm_sync.unreadable_column(text);
DROP INDEX crm_sync.idx_tombstones_contact_id;
DROP VIEW crm_sync.pace;
DROP TABLE crm_sync.progress;
DROP TABLE crm_sync.snapshot;
