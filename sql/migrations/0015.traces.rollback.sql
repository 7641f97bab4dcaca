-- The column goes, and the functions are as they were.

DO $traces$
BEGIN
    IF crm_sync.has_column(crm_sync.trace_column()) THEN
        PERFORM crm_sync.set_tracing(FALSE);
    END IF;
END;
$traces$;

DO $traces$
DECLARE
    maker regprocedure;
    definition text;
BEGIN
    FOREACH maker IN ARRAY ARRAY[
        'crm_sync.create_flip_function(text)'::regprocedure, 'crm_sync.create_watch_function(text)'::regprocedure
    ] LOOP
        definition := pg_get_functiondef(maker);
        definition := replace(definition, 'clock_timestamp();%9$s', 'clock_timestamp();');
        definition := replace(definition, 'END;%10$s', 'END;');
        definition := replace(definition, 'clock_timestamp();%7$s', 'clock_timestamp();');
        definition := regexp_replace(definition, '(lining_up\(crm_name, FALSE\)),( +-- [68]\n)(?: +crm_sync\.tracing\([^\n]*\n)+', '\1 \2');
        EXECUTE definition;
    END LOOP;
END;
$traces$;

DROP FUNCTION crm_sync.set_tracing(boolean);

DROP FUNCTION crm_sync.renew_flip_functions();

DROP FUNCTION crm_sync.tracing(text);

DROP FUNCTION crm_sync.trace_column();
