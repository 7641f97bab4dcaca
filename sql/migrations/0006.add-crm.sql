-- Adding a CRM is one call: its columns, indexes, trigger and lane.

-- The earliest next attempt of a contact at the CRMs other than this one, as an SQL expression over the given row.
CREATE FUNCTION crm_sync.other_retries(crm_name text, contact text)
RETURNS text
LANGUAGE sql
STABLE
AS $$
    SELECT coalesce(
        'LEAST(' || string_agg(
            format(
                'CASE WHEN %1$s.%2$I IS NOT NULL THEN %1$s.%3$I END',
                contact, crm || '_processing_error', crm || '_due_at'
            ),
            ', ' ORDER BY id
        ) || ')',
        'NULL::timestamptz'
    )
    FROM crm_sync.lanes
    WHERE crm <> crm_name
$$;

-- (Re)creates the trigger functions of one CRM. Each CRM has its own because plpgsql needs the column names at hand, and all are
-- made anew when a CRM is added or removed because some name the retries of the others.
--
-- They run in every flip, so they hold as little as can be: the cases are told apart by the WHEN of the triggers. A fixed
-- search_path would make a flip a quarter slower; instead nothing in them is looked up by it: types and functions are qualified,
-- and the only operator too.
CREATE FUNCTION crm_sync.create_trigger_functions(crm_name text)
RETURNS void
LANGUAGE plpgsql
AS $create$
DECLARE
    lane crm_sync.lanes;
    sync_type text;
    processing_type text;
BEGIN
    SELECT * INTO STRICT lane FROM crm_sync.lanes WHERE crm = crm_name;

    SELECT
        max(format('%I.%I', n.nspname, t.typname)) FILTER (WHERE a.attname = crm_name || '_sync_status'),
        max(format('%I.%I', n.nspname, t.typname)) FILTER (WHERE a.attname = crm_name || '_processing_status')
    INTO STRICT sync_type, processing_type
    FROM pg_attribute a
    JOIN pg_type t ON t.oid = a.atttypid
    JOIN pg_namespace n ON n.oid = t.typnamespace
    WHERE a.attrelid = 'contacts'::regclass;

    -- Not in flight, and now Queued: in line.
    EXECUTE format(
        $template$
CREATE OR REPLACE FUNCTION crm_sync.%1$s_line_up()
RETURNS trigger
LANGUAGE plpgsql
AS $function$
BEGIN
    -- A place in line is kept; a wait for a retry ends, and the roll-up forgets it.
    IF OLD.%1$s_processing_error IS NOT NULL AND OLD.%1$s_due_at IS NOT NULL THEN
        NEW.next_retry_at := %4$s;
    END IF;
    NEW.%1$s_due_at := LEAST(OLD.%1$s_due_at, pg_catalog.clock_timestamp());
    NEW.%1$s_processing_status := 'Queued'::%3$s;
    NEW.%1$s_processing_error := NULL;
    NEW.%1$s_attempts := 0;
    -- Granted: a worker is awake and will look again after this transaction. Refused: all sleep, so ring.
    IF NOT pg_catalog.pg_try_advisory_xact_lock_shared(1668443497, %2$s) THEN
        PERFORM pg_catalog.pg_notify('crm_sync', '%1$s');
    END IF;
    RETURN NEW;
END;
$function$
        $template$,
        crm_name, lane.id, processing_type, crm_sync.other_retries(crm_name, 'NEW')
    );

    -- Not in flight, in line, and now something else: withdrawn. What older code writes into these columns itself is respected.
    EXECUTE format(
        $template$
CREATE OR REPLACE FUNCTION crm_sync.%1$s_withdraw()
RETURNS trigger
LANGUAGE plpgsql
AS $function$
BEGIN
    IF OLD.%1$s_processing_error IS NOT NULL AND OLD.%1$s_due_at IS NOT NULL THEN
        NEW.next_retry_at := %2$s;
    END IF;
    NEW.%1$s_due_at := NULL;
    IF NEW.%1$s_processing_status OPERATOR(pg_catalog.=) OLD.%1$s_processing_status THEN
        NEW.%1$s_processing_status := NULL;
    END IF;
    IF NEW.%1$s_processing_error OPERATOR(pg_catalog.=) OLD.%1$s_processing_error THEN
        NEW.%1$s_processing_error := NULL;
    END IF;
    RETURN NEW;
END;
$function$
        $template$,
        crm_name, crm_sync.other_retries(crm_name, 'NEW')
    );

    -- In flight: the word of the application is taken, the worker's columns stay. A stale row saved by an ORM harms nothing.
    EXECUTE format(
        $template$
CREATE OR REPLACE FUNCTION crm_sync.%1$s_hold()
RETURNS trigger
LANGUAGE plpgsql
AS $function$
BEGIN
    NEW.%1$s_processing_status := OLD.%1$s_processing_status;
    NEW.%1$s_processing_error := OLD.%1$s_processing_error;
    NEW.%2$I := OLD.%2$I;
    NEW.%1$s_attempts := OLD.%1$s_attempts;
    NEW.%1$s_due_at := OLD.%1$s_due_at;
    NEW.%1$s_synced_at := OLD.%1$s_synced_at;
    RETURN NEW;
END;
$function$
        $template$,
        crm_name, lane.remote_id_column
    );

    -- A copied row brings no claim along: nobody would ever finish it.
    EXECUTE format(
        $template$
CREATE OR REPLACE FUNCTION crm_sync.%1$s_disclaim()
RETURNS trigger
LANGUAGE plpgsql
AS $function$
BEGIN
    IF NEW.%1$s_claimed_by IS NOT NULL THEN
        NEW.%1$s_claimed_by := NULL;
        NEW.%1$s_processing_status := NULL;
        IF NEW.%1$s_sync_status OPERATOR(pg_catalog.=) 'Processing'::%2$s THEN
            NEW.%1$s_sync_status := 'Queued'::%2$s;
        END IF;
    END IF;
    NEW.%1$s_due_at := NULL;
    RETURN NEW;
END;
$function$
        $template$,
        crm_name, sync_type
    );
END;
$create$;

-- Installs a CRM on the contacts table. Columns that are there already are kept as they are, with their own enum types.
-- Contacts that are Queued already get in line.
CREATE FUNCTION crm_sync.add_crm(crm_name text, remote_id_column text DEFAULT NULL)
RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    remote_id text := coalesce(remote_id_column, crm_name || '_contact_id');
    wanted text[] := ARRAY[
        -- Constant defaults: no rewrite of the table.
        crm_name || '_sync_status', 'crm_sync_status NOT NULL DEFAULT ''New''',  -- what is wanted
        crm_name || '_processing_status', 'crm_processing_status',               -- what is happening
        crm_name || '_processing_error', 'text',                                 -- CODE: plain reason
        remote_id, 'varchar',                                                    -- the id in the CRM
        crm_name || '_attempts', 'integer NOT NULL DEFAULT 0',                   -- claims since the last flip
        crm_name || '_due_at', 'timestamptz',                                    -- when it may be claimed; the order of service
        crm_name || '_claimed_by', 'bigint',                                     -- the claim that has it in flight: worker << 32 | number
        crm_name || '_synced_at', 'timestamptz'                                  -- last success
    ];
    added text[] := '{}';
    other text;
    trigger_case text[];
BEGIN
    FOR i IN 1 .. cardinality(wanted) BY 2 LOOP
        IF NOT EXISTS (
            SELECT FROM pg_attribute WHERE attrelid = 'contacts'::regclass AND attname = wanted[i] AND NOT attisdropped
        ) THEN
            EXECUTE format('ALTER TABLE contacts ADD COLUMN %I %s', wanted[i], wanted[i + 1]);
            added := added || wanted[i];
        END IF;
    END LOOP;

    INSERT INTO crm_sync.lanes (crm, remote_id_column, added_columns) VALUES (crm_name, remote_id, added);

    -- No index has a column that a claim changes, neither as key nor in its predicate: a claim touches none.
    -- The claim: what is due, in order of service. A row in flight stays in it until it is finished.
    EXECUTE format(
        'CREATE INDEX IF NOT EXISTS %I ON contacts (%I) WHERE %2$I IS NOT NULL',
        'idx_contacts_' || crm_name || '_due_at', crm_name || '_due_at'
    );
    -- People: what failed, by the code of the reason. Cut, because an index entry has a limit and the text has none.
    EXECUTE format(
        'CREATE INDEX IF NOT EXISTS %I ON contacts (split_part(left(%I, 40), '':'', 1)) WHERE %2$I IS NOT NULL',
        'idx_contacts_' || crm_name || '_processing_error', crm_name || '_processing_error'
    );
    -- The application: which contact is this record of the CRM.
    EXECUTE format(
        'CREATE INDEX IF NOT EXISTS %I ON contacts (%I) WHERE %2$I IS NOT NULL',
        'idx_contacts_' || remote_id, remote_id
    );

    FOR other IN SELECT crm FROM crm_sync.lanes ORDER BY id LOOP
        PERFORM crm_sync.create_trigger_functions(other);
    END LOOP;

    -- A claim changes claimed_by, and so does a finish: the worker's own transitions call none of them. Of an application's
    -- update at most one is called.
    FOREACH trigger_case SLICE 1 IN ARRAY ARRAY[
        ['flipped', 'line_up', 'OLD.%1$s_claimed_by IS NULL AND NEW.%1$s_sync_status = ''Queued'''],
        [
            'withdrawn',
            'withdraw',
            'OLD.%1$s_claimed_by IS NULL AND NEW.%1$s_sync_status IS DISTINCT FROM ''Queued'' '
            'AND (OLD.%1$s_due_at IS NOT NULL OR NEW.%1$s_due_at IS NOT NULL)'
        ],
        ['held', 'hold', 'OLD.%1$s_claimed_by IS NOT NULL']
    ] LOOP
        EXECUTE format(
            'CREATE TRIGGER crm_sync_%1$s_' || trigger_case[1] || ' '
            'BEFORE UPDATE OF %1$s_sync_status, %1$s_processing_status, %1$s_processing_error, %2$I ON contacts '
            'FOR EACH ROW WHEN (NEW.%1$s_claimed_by IS NOT DISTINCT FROM OLD.%1$s_claimed_by AND ' || trigger_case[3] || ') '
            'EXECUTE FUNCTION crm_sync.%1$s_' || trigger_case[2] || '()',
            crm_name, remote_id
        );
    END LOOP;
    -- By name, so in this order: first the copy loses its claim, then it is lined up.
    EXECUTE format(
        'CREATE TRIGGER crm_sync_%1$s_copied BEFORE INSERT ON contacts FOR EACH ROW '
        'WHEN (NEW.%1$s_claimed_by IS NOT NULL OR NEW.%1$s_due_at IS NOT NULL) '
        'EXECUTE FUNCTION crm_sync.%1$s_disclaim()',
        crm_name
    );
    EXECUTE format(
        'CREATE TRIGGER crm_sync_%1$s_inserted BEFORE INSERT ON contacts FOR EACH ROW '
        'WHEN (NEW.%1$s_sync_status = ''Queued'') EXECUTE FUNCTION crm_sync.%1$s_line_up()',
        crm_name
    );

    EXECUTE format(
        'UPDATE contacts SET %1$I = %1$I WHERE %1$I = ''Queued'' AND %2$I IS NULL',
        crm_name || '_sync_status', crm_name || '_due_at'
    );
END;
$$;

-- Takes a CRM off the contacts table again: drops what add_crm added, and keeps the columns that were there before.
CREATE FUNCTION crm_sync.remove_crm(crm_name text)
RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    lane crm_sync.lanes;
    name text;
BEGIN
    DELETE FROM crm_sync.lanes WHERE crm = crm_name RETURNING * INTO STRICT lane;

    FOREACH name IN ARRAY ARRAY['flipped', 'withdrawn', 'held', 'copied', 'inserted'] LOOP
        EXECUTE format('DROP TRIGGER crm_sync_%s_%s ON contacts', crm_name, name);
    END LOOP;
    FOREACH name IN ARRAY ARRAY['line_up', 'withdraw', 'hold', 'disclaim'] LOOP
        EXECUTE format('DROP FUNCTION crm_sync.%s_%s()', crm_name, name);
    END LOOP;
    FOREACH name IN ARRAY ARRAY[
        'idx_contacts_' || crm_name || '_due_at',
        'idx_contacts_' || crm_name || '_processing_error',
        'idx_contacts_' || lane.remote_id_column
    ] LOOP
        EXECUTE format('DROP INDEX IF EXISTS %I', name);
    END LOOP;
    FOREACH name IN ARRAY lane.added_columns LOOP
        EXECUTE format('ALTER TABLE contacts DROP COLUMN %I', name);
    END LOOP;
    FOR name IN SELECT crm FROM crm_sync.lanes ORDER BY id LOOP
        PERFORM crm_sync.create_trigger_functions(name);
    END LOOP;
END;
$$;
