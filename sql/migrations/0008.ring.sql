-- A transaction that is to be prepared (PREPARE TRANSACTION) may not notify. SET crm_sync.ring = off has its flips ring no bell: where
-- all workers sleep, the next tick of one finds them.
--
-- In the functions as they are by now, so that nothing else of them is said here once more. Asked for only where it would ring.
DO $ring$
DECLARE
    maker regprocedure;
    was text := 'IF NOT pg_catalog.pg_try_advisory_xact_lock_shared(1668443497, %2$s) THEN';
    rings text := 'IF NOT pg_catalog.pg_try_advisory_xact_lock_shared(1668443497, %2$s)
            AND coalesce(pg_catalog.current_setting(''crm_sync.ring'', TRUE), ''on'') OPERATOR(pg_catalog.<>) ''off''
        THEN';
    definition text;
BEGIN
    FOREACH maker IN ARRAY ARRAY[
        'crm_sync.create_flip_function(text)'::regprocedure, 'crm_sync.create_watch_function(text)'::regprocedure
    ] LOOP
        definition := pg_get_functiondef(maker);
        IF strpos(definition, rings) > 0 THEN
            CONTINUE;
        END IF;
        IF strpos(definition, was) = 0 THEN
            RAISE EXCEPTION '% does not ring as this migration expects', maker;
        END IF;
        EXECUTE replace(definition, was, rings);
    END LOOP;
    PERFORM crm_sync.create_flip_function(l.crm) FROM crm_sync.lanes AS l WHERE l.installed ORDER BY l.id;
    PERFORM crm_sync.create_watch_function(l.crm)
    FROM crm_sync.lanes AS l
    WHERE to_regprocedure(format('crm_sync.%I()', l.crm || '_watch')) IS NOT NULL
    ORDER BY l.id;
END;
$ring$;
