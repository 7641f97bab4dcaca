-- Those that were added by hand since, too.

DO $$
DECLARE
    name text;
BEGIN
    FOR name IN SELECT crm FROM crm_sync.lanes ORDER BY id DESC LOOP
        PERFORM crm_sync.remove_crm(name);
    END LOOP;
END;
$$;
