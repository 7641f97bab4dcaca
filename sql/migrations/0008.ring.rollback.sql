DO $ring$
DECLARE
    maker regprocedure;
    was text := 'IF NOT pg_catalog.pg_try_advisory_xact_lock_shared(1668443497, %2$s) THEN';
    rings text := 'IF NOT pg_catalog.pg_try_advisory_xact_lock_shared(1668443497, %2$s)
            AND coalesce(pg_catalog.current_setting(''crm_sync.ring'', TRUE), ''on'') OPERATOR(pg_catalog.<>) ''off''
        THEN';
BEGIN
    FOREACH maker IN ARRAY ARRAY[
        'crm_sync.create_flip_function(text)'::regprocedure, 'crm_sync.create_watch_function(text)'::regprocedure
    ] LOOP
        EXECUTE replace(pg_get_functiondef(maker), rings, was);
    END LOOP;
    PERFORM crm_sync.create_flip_function(l.crm) FROM crm_sync.lanes AS l WHERE l.installed ORDER BY l.id;
    PERFORM crm_sync.create_watch_function(l.crm)
    FROM crm_sync.lanes AS l
    WHERE to_regprocedure(format('crm_sync.%I()', l.crm || '_watch')) IS NOT NULL
    ORDER BY l.id;
END;
$ring$;
