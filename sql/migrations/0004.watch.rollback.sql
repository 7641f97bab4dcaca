DO $$
DECLARE
    name text;
BEGIN
    FOR name IN SELECT crm FROM crm_sync.lanes LOOP
        PERFORM crm_sync.unwatch(name);
    END LOOP;
END;
$$;

DROP FUNCTION crm_sync.unwatch(text);

DROP FUNCTION crm_sync.watch(text, text[]);

DROP FUNCTION crm_sync.create_watch_function(text);

DROP FUNCTION crm_sync.refuse_unwatchable(text[]);

DROP FUNCTION crm_sync.own_columns();
