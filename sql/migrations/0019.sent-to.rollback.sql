-- The column that says which record a row's number is about goes, and with it the names of later numberings.

DO $clearing$
DECLARE
    lane text;
BEGIN
    FOR lane IN SELECT l.crm FROM crm_sync.lanes AS l LOOP
        IF crm_sync.has_column(lane || '_sent_to') THEN
            EXECUTE format(
                'ALTER TABLE %s DROP COLUMN %I', crm_sync.full_name(crm_sync.contacts()), lane || '_sent_to'
            );
            DELETE FROM crm_sync.added WHERE kind = 'column' AND name = lane || '_sent_to';
        ELSE
            DELETE FROM crm_sync.fields WHERE crm = lane;
        END IF;
    END LOOP;
END;
$clearing$;

DELETE FROM crm_sync.fields AS f
WHERE f.name = '' OR NOT EXISTS (SELECT FROM crm_sync.lanes AS l WHERE l.crm = f.crm);

ALTER TABLE crm_sync.fields DROP CONSTRAINT fields_numbering_check;

ALTER TABLE crm_sync.fields ADD CONSTRAINT fields_place_check CHECK (place BETWEEN 0 AND 62);

ALTER TABLE crm_sync.fields
ADD CONSTRAINT fields_crm_fkey FOREIGN KEY (crm) REFERENCES crm_sync.lanes (crm) ON DELETE CASCADE;

-- Gives fields that have no bit yet the next ones, as long as there are any; all that have one are returned. As two workers start at
-- once, a bit may be taken meanwhile: then the next is tried.
CREATE OR REPLACE FUNCTION crm_sync.number_fields(crm_name text, field_names text[])
RETURNS TABLE (name text, place smallint)
LANGUAGE plpgsql
AS $$
#variable_conflict use_column
DECLARE
    field_name text;
    next_place smallint;
BEGIN
    FOR field_name IN SELECT DISTINCT n.name FROM unnest(field_names) AS n (name) ORDER BY n.name LOOP
        WHILE NOT EXISTS (SELECT FROM crm_sync.fields AS f WHERE f.crm = crm_name AND f.name = field_name) LOOP
            SELECT coalesce(max(f.place) + 1, 0) INTO next_place FROM crm_sync.fields AS f WHERE f.crm = crm_name;
            EXIT WHEN next_place > 62;
            INSERT INTO crm_sync.fields (crm, name, place) VALUES (crm_name, field_name, next_place) ON CONFLICT DO NOTHING;
        END LOOP;
    END LOOP;
    RETURN QUERY SELECT f.name, f.place FROM crm_sync.fields AS f WHERE f.crm = crm_name AND f.name = ANY (field_names);
END;
$$;

-- Turns clearing on or off for a CRM. It needs the table for itself for a moment. Off forgets what was sent.
CREATE OR REPLACE FUNCTION crm_sync.set_clearing(crm_name text, is_on boolean)
RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    contacts text := crm_sync.full_name(crm_sync.contacts());
    sent text := crm_name || '_sent_fields';
    worker name;
BEGIN
    IF is_on THEN
        EXECUTE format('ALTER TABLE %s ADD COLUMN IF NOT EXISTS %I bigint', contacts, sent);
        INSERT INTO crm_sync.added (kind, name, crm) VALUES ('column', sent, crm_name) ON CONFLICT DO NOTHING;
        -- The roles of workers have rights column by column: those that may claim may read and write it.
        FOR worker IN
            SELECT DISTINCT pg_get_userbyid(g.grantee)
            FROM pg_attribute AS a
            CROSS JOIN LATERAL aclexplode(a.attacl) AS g
            WHERE
                a.attrelid = crm_sync.contacts()
                AND a.attname = crm_name || '_claimed_by'
                AND g.privilege_type = 'UPDATE'
                AND g.grantee <> 0
                AND NOT a.attisdropped
        LOOP
            EXECUTE format('GRANT SELECT (%1$I), UPDATE (%1$I) ON TABLE %2$s TO %3$I', sent, contacts, worker);
            EXECUTE format('GRANT SELECT, INSERT ON TABLE crm_sync.fields TO %I', worker);
            EXECUTE format('GRANT EXECUTE ON FUNCTION crm_sync.number_fields(text, text[]) TO %I', worker);
        END LOOP;
    ELSE
        EXECUTE format('ALTER TABLE %s DROP COLUMN IF EXISTS %I', contacts, sent);
        DELETE FROM crm_sync.added WHERE kind = 'column' AND name = sent;
        DELETE FROM crm_sync.fields WHERE crm = crm_name;
    END IF;
END;
$$;
