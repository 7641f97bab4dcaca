-- The columns go, and with them what is known of what was sent.

DO $clearing$
DECLARE
    lane text;
BEGIN
    FOR lane IN SELECT l.crm FROM crm_sync.lanes AS l LOOP
        IF crm_sync.has_column(lane || '_sent_fields') THEN
            PERFORM crm_sync.set_clearing(lane, FALSE);
        END IF;
    END LOOP;
END;
$clearing$;

DROP FUNCTION crm_sync.set_clearing(text, boolean);

DROP FUNCTION crm_sync.number_fields(text, text[]);

DROP TABLE crm_sync.fields;
