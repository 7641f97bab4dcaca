-- What a row says was sent of it is true of one record of the CRM, and by one numbering of the fields.
--
-- So next to the numbers stands which record they are about, by its id: a row that has got another id since, or none, from the
-- application or from `crm-sync match`, has nothing in that one. It is compared where a row is claimed and written where it is
-- finished, so that updates of the application's cost nothing more.
--
-- And a number is never given twice. Turning clearing off forgets what was sent, not which number a field has: a worker that
-- has not noticed goes on with the same. Only where all are used up does turning it on begin another numbering, whose name is
-- part of what stands next to the numbers. So a worker of the former one takes nothing that it reads for its own.

-- A row without a name says how often numbering has started again: minus its place. The constraint has a new name and comes first:
-- where this migration was applied already, it says so.
ALTER TABLE crm_sync.fields
ADD CONSTRAINT fields_numbering_check CHECK (CASE WHEN name = '' THEN place < 0 ELSE place BETWEEN 0 AND 62 END);

ALTER TABLE crm_sync.fields DROP CONSTRAINT fields_place_check;

-- Numbers outlive their CRM, should that be adopted again under a worker.
ALTER TABLE crm_sync.fields DROP CONSTRAINT fields_crm_fkey;

-- As in 0018; the row without a name is none of the fields.
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
            SELECT coalesce(max(f.place) + 1, 0) INTO next_place
            FROM crm_sync.fields AS f
            WHERE f.crm = crm_name AND f.name <> '';
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
    record text := crm_name || '_sent_to';
    worker name;
BEGIN
    IF is_on THEN
        IF NOT crm_sync.has_column(sent) AND EXISTS (SELECT FROM crm_sync.fields AS f WHERE f.crm = crm_name AND f.place = 62) THEN
            DELETE FROM crm_sync.fields AS f WHERE f.crm = crm_name AND f.name <> '';
            INSERT INTO crm_sync.fields AS f (crm, name, place)
            VALUES (crm_name, '', -1)
            ON CONFLICT (crm, name) DO UPDATE SET place = f.place - 1;
        END IF;
        EXECUTE format('ALTER TABLE %s ADD COLUMN IF NOT EXISTS %I bigint, ADD COLUMN IF NOT EXISTS %I text', contacts, sent, record);
        INSERT INTO crm_sync.added (kind, name, crm)
        VALUES ('column', sent, crm_name), ('column', record, crm_name)
        ON CONFLICT DO NOTHING;
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
            EXECUTE format('GRANT SELECT (%1$I, %2$I), UPDATE (%1$I, %2$I) ON TABLE %3$s TO %4$I', sent, record, contacts, worker);
            EXECUTE format('GRANT SELECT, INSERT ON TABLE crm_sync.fields TO %I', worker);
            EXECUTE format('GRANT EXECUTE ON FUNCTION crm_sync.number_fields(text, text[]) TO %I', worker);
        END LOOP;
    ELSE
        EXECUTE format('ALTER TABLE %s DROP COLUMN IF EXISTS %I, DROP COLUMN IF EXISTS %I', contacts, sent, record);
        DELETE FROM crm_sync.added WHERE kind = 'column' AND name IN (sent, record);
    END IF;
END;
$$;

-- Where it is on, what was sent so far counts as sent to no record: it is not emptied.
DO $clearing$
DECLARE
    lane text;
BEGIN
    FOR lane IN SELECT l.crm FROM crm_sync.lanes AS l LOOP
        IF crm_sync.has_column(lane || '_sent_fields') THEN
            PERFORM crm_sync.set_clearing(lane, TRUE);
        END IF;
    END LOOP;
END;
$clearing$;
