-- A table that was there before crm-sync keeps its rows, its HubSpot columns and their types.

DO $$
BEGIN
    IF obj_description(to_regclass('contacts'), 'pg_class') = 'Created by crm-sync.' THEN
        DROP TABLE contacts;
        DROP TYPE hubspot_sync_status;
        DROP TYPE hubspot_processing_status;
    END IF;
END;
$$;
