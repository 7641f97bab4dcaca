-- The functions as they were. Those of the triggers, and the lines, are off already: what is on the contacts table goes first.

DROP FUNCTION crm_sync.fill_line(text);

DROP FUNCTION crm_sync.forget_due_index(text);

DROP FUNCTION crm_sync.due_index_notes(text);

DROP FUNCTION crm_sync.let_line_up(text, text);

DROP FUNCTION crm_sync.lining_up(text, boolean);

DROP FUNCTION crm_sync.create_line(text);

DROP FUNCTION crm_sync.has_line(text);

DROP FUNCTION crm_sync.line_type(regclass, text);

DROP FUNCTION crm_sync.line(text);

CREATE OR REPLACE FUNCTION crm_sync.create_flip_function(crm_name text)
RETURNS void
LANGUAGE plpgsql
AS $create$
DECLARE
    lane crm_sync.lanes;
    sync_type text;
    processing_type text;
    key_of_parts name := (
        SELECT a.key_column FROM crm_sync.adopted AS a JOIN pg_partitioned_table AS p ON a.contacts = p.partrelid
    );
    arrival text := '';
BEGIN
    SELECT * INTO STRICT lane FROM crm_sync.lanes WHERE crm = crm_name;

    -- A row that moves to another partition is deleted in the one and inserted into the other, by one UPDATE. It stays in flight, or
    -- in line, as it was: told by what its deletion has noted down a moment ago. Other tables have none of this.
    IF key_of_parts IS NOT NULL THEN
        arrival := format(
            $moved$
    IF TG_OP OPERATOR(pg_catalog.=) 'INSERT' AND NEW.%1$s_due_at IS NOT NULL THEN
        -- Within, so that nothing else asks for the key: it may have been renamed.
        IF pg_catalog.current_setting('crm_sync.%1$s_moved', TRUE) OPERATOR(pg_catalog.=)
            ROW(NEW.%2$I, NEW.%1$s_claimed_by, NEW.%1$s_due_at)::pg_catalog.text
        THEN
            RETURN NEW;
        END IF;
    END IF;
            $moved$,
            crm_name, key_of_parts
        );
        EXECUTE format(
            $moved$
CREATE OR REPLACE FUNCTION crm_sync.%1$s_moved()
RETURNS trigger
LANGUAGE plpgsql
AS $function$
BEGIN
    PERFORM pg_catalog.set_config(
        'crm_sync.%1$s_moved', ROW(OLD.%2$I, OLD.%1$s_claimed_by, OLD.%1$s_due_at)::pg_catalog.text, TRUE
    );
    RETURN OLD;
END;
$function$
            $moved$,
            crm_name, key_of_parts
        );
    END IF;

    SELECT
        max(format('%I.%I', n.nspname, t.typname)) FILTER (WHERE a.attname = crm_name || '_sync_status'),
        max(format('%I.%I', n.nspname, t.typname)) FILTER (WHERE a.attname = crm_name || '_processing_status')
    INTO STRICT sync_type, processing_type
    FROM pg_attribute a
    JOIN pg_type t ON t.oid = a.atttypid
    JOIN pg_namespace n ON n.oid = t.typnamespace
    WHERE a.attrelid = crm_sync.contacts();

    EXECUTE format(
        $template$
CREATE OR REPLACE FUNCTION crm_sync.%1$s_flip()
RETURNS trigger
LANGUAGE plpgsql
AS $function$
BEGIN
    IF TG_OP OPERATOR(pg_catalog.=) 'UPDATE' AND (
        coalesce(NEW.%1$s_claimed_by, 0) OPERATOR(pg_catalog.<>) coalesce(OLD.%1$s_claimed_by, 0)
        OR coalesce(NEW.%1$s_due_at, '-infinity') OPERATOR(pg_catalog.<>) coalesce(OLD.%1$s_due_at, '-infinity')
        OR coalesce(NEW.%1$s_flipped_at, '-infinity') OPERATOR(pg_catalog.<>) coalesce(OLD.%1$s_flipped_at, '-infinity')
        OR coalesce(NEW.%1$s_synced_at, '-infinity') OPERATOR(pg_catalog.<>) coalesce(OLD.%1$s_synced_at, '-infinity')
    ) THEN
        -- No application writes these: an ORM saves a row as a whole that it read before they last changed.
        NEW.%1$s_claimed_by := OLD.%1$s_claimed_by;
        NEW.%1$s_processing_status := OLD.%1$s_processing_status;
        NEW.%1$s_processing_error := OLD.%1$s_processing_error;
        NEW.%3$I := OLD.%3$I;
        NEW.%1$s_attempts := OLD.%1$s_attempts;
        NEW.%1$s_due_at := OLD.%1$s_due_at;
        NEW.%1$s_synced_at := OLD.%1$s_synced_at;
        NEW.%1$s_flipped_at := OLD.%1$s_flipped_at;
        -- The worker's words in it, and the first word of every row, are nobody's: they would take back a flip made since.
        IF NEW.%1$s_sync_status OPERATOR(pg_catalog.<>) OLD.%1$s_sync_status
            AND NEW.%1$s_sync_status::pg_catalog.text OPERATOR(pg_catalog.=) ANY (
                '{New, Processing, Complete, Error}'::pg_catalog.text[]
            )
        THEN
            NEW.%1$s_sync_status := OLD.%1$s_sync_status;
            RETURN NEW;
        END IF;
    END IF;

    IF OLD.%1$s_claimed_by IS NOT NULL THEN
        -- In flight: the word of the application is taken, the worker's columns stay.
        NEW.%1$s_claimed_by := OLD.%1$s_claimed_by;
        NEW.%1$s_processing_status := OLD.%1$s_processing_status;
        NEW.%1$s_processing_error := OLD.%1$s_processing_error;
        NEW.%3$I := OLD.%3$I;
        NEW.%1$s_attempts := OLD.%1$s_attempts;
        NEW.%1$s_due_at := OLD.%1$s_due_at;
        NEW.%1$s_synced_at := OLD.%1$s_synced_at;
        NEW.%1$s_flipped_at := CASE
            WHEN NEW.%1$s_sync_status OPERATOR(pg_catalog.=) 'Queued'::%4$s THEN pg_catalog.clock_timestamp()
            ELSE OLD.%1$s_flipped_at
        END;
        RETURN NEW;
    END IF;

    %7$s
    -- A copied row brings no claim along: nobody would ever finish it.
    IF NEW.%1$s_claimed_by IS NOT NULL THEN
        NEW.%1$s_claimed_by := NULL;
        NEW.%1$s_processing_status := NULL;
        IF NEW.%1$s_sync_status OPERATOR(pg_catalog.=) 'Processing'::%4$s THEN
            NEW.%1$s_sync_status := 'Queued'::%4$s;
        END IF;
    END IF;

    -- It was waiting for a retry, and waits no longer: the roll-up forgets this one.
    IF OLD.%1$s_processing_error IS NOT NULL AND OLD.%1$s_due_at IS NOT NULL THEN
        NEW.next_retry_at := %6$s;
    END IF;

    IF NEW.%1$s_sync_status OPERATOR(pg_catalog.=) 'Queued'::%4$s THEN
        NEW.%1$s_flipped_at := pg_catalog.clock_timestamp();
        -- A place in line is kept, a wait for a retry ends.
        NEW.%1$s_due_at := LEAST(OLD.%1$s_due_at, NEW.%1$s_flipped_at);
        NEW.%1$s_processing_status := 'Queued'::%5$s;
        NEW.%1$s_processing_error := NULL;
        NEW.%1$s_attempts := 0;
        -- Granted: a worker is awake and will look again after this transaction. Refused: all sleep, so ring.
        IF NOT pg_catalog.pg_try_advisory_xact_lock_shared(1668443497, %2$s) THEN
            PERFORM pg_catalog.pg_notify('crm_sync', '%1$s');
        END IF;
        RETURN NEW;
    END IF;

    NEW.%1$s_due_at := NULL;
    IF OLD.%1$s_due_at IS NOT NULL THEN
        -- Withdrawn. What older code writes into these columns itself is respected.
        IF NEW.%1$s_processing_status OPERATOR(pg_catalog.=) OLD.%1$s_processing_status THEN
            NEW.%1$s_processing_status := NULL;
        END IF;
        IF NEW.%1$s_processing_error OPERATOR(pg_catalog.=) OLD.%1$s_processing_error THEN
            NEW.%1$s_processing_error := NULL;
        END IF;
    END IF;
    RETURN NEW;
END;
$function$
        $template$,
        crm_name,                                -- 1
        lane.id,                                 -- 2
        lane.remote_id_column,                   -- 3
        sync_type,                               -- 4
        processing_type,                         -- 5
        crm_sync.other_retries(crm_name, 'NEW'), -- 6
        arrival                                  -- 7
    );
END;
$create$;

CREATE OR REPLACE FUNCTION crm_sync.create_watch_function(crm_name text)
RETURNS void
LANGUAGE plpgsql
AS $create$
DECLARE
    contacts regclass := crm_sync.contacts();
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
    WHERE a.attrelid = contacts;

    EXECUTE format(
        $template$
CREATE OR REPLACE FUNCTION crm_sync.%1$s_watch()
RETURNS trigger
LANGUAGE plpgsql
AS $function$
BEGIN
    NEW.%1$s_sync_status := 'Queued'::%4$s;
    -- Also of a contact in line, whose present values are sent anyway: what was tried before had other values.
    NEW.%1$s_flipped_at := pg_catalog.clock_timestamp();

    IF OLD.%1$s_due_at IS NOT NULL THEN
        -- In flight: it goes out once more. In line: it keeps its place, and its wait for a retry. A stale row, which an ORM has
        -- read before the flip and saves as a whole, withdraws nothing.
        NEW.%1$s_claimed_by := OLD.%1$s_claimed_by;
        NEW.%1$s_processing_status := OLD.%1$s_processing_status;
        NEW.%1$s_processing_error := OLD.%1$s_processing_error;
        NEW.%3$I := OLD.%3$I;
        NEW.%1$s_attempts := OLD.%1$s_attempts;
        NEW.%1$s_due_at := OLD.%1$s_due_at;
        NEW.%1$s_synced_at := OLD.%1$s_synced_at;
        NEW.next_retry_at := OLD.next_retry_at;
        RETURN NEW;
    END IF;

    NEW.%1$s_due_at := NEW.%1$s_flipped_at;
    NEW.%1$s_processing_status := 'Queued'::%5$s;
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
        crm_name,               -- 1
        lane.id,                -- 2
        lane.remote_id_column,  -- 3
        sync_type,              -- 4
        processing_type         -- 5
    );
END;
$create$;

CREATE OR REPLACE FUNCTION crm_sync.missing_steps(crm_names text[], online boolean)
RETURNS SETOF crm_sync.step
LANGUAGE plpgsql
STABLE
AS $$
DECLARE
    contacts text := crm_sync.full_name(crm_sync.contacts());
    home text := (
        SELECT n.nspname FROM pg_class AS c JOIN pg_namespace AS n ON c.relnamespace = n.oid WHERE c.oid = crm_sync.contacts()
    );
    crm_name text;
    lane crm_sync.lanes;
    remote_id text;
    is_partitioned boolean := EXISTS (SELECT FROM pg_partitioned_table AS p WHERE p.partrelid = crm_sync.contacts());
BEGIN
    -- The two state machines of a contact at a CRM, in whose tables there are no types of their own.
    RETURN QUERY
    SELECT (crm_sync.step(
        NULL, 'type', 'none', format('CREATE TYPE %I.%I AS ENUM (%s)', home, t.name, t.states), ARRAY[format('%I.%I', home, t.name)]
    )).*
    FROM (
        VALUES
        -- never asked for, marked by a person, asked for (the flip), claimed, delivered, rejected or given up, not wanted there
        ('crm_sync_status', '_sync_status', '''New'', ''Selected'', ''Queued'', ''Processing'', ''Complete'', ''Error'', ''Skipped'''),
        -- in line, in flight, delivered, rejected or given up
        ('crm_processing_status', '_processing_status', '''Queued'', ''Processing'', ''Complete'', ''Error''')
    ) AS t (name, suffix, states)
    WHERE
        to_regtype(format('%I.%I', home, t.name)) IS NULL
        AND EXISTS (SELECT FROM unnest(crm_names) AS c WHERE NOT crm_sync.has_column(c || t.suffix));

    -- A roll-up over the CRMs for people and reports. The truth is per CRM.
    RETURN QUERY
    SELECT (crm_sync.step(
        NULL, 'column', 'ACCESS EXCLUSIVE',
        format('ALTER TABLE %s %s', contacts, string_agg(format('ADD COLUMN %I %s', w.name, w.definition), ', ')), array_agg(w.name)
    )).*
    FROM (
        VALUES
        ('retry_count', 'integer NOT NULL DEFAULT 0'),
        ('last_retry_at', 'timestamptz'),
        ('next_retry_at', 'timestamptz'),
        ('last_failed_crm', 'varchar')
    ) AS w (name, definition)
    WHERE NOT crm_sync.has_column(w.name)
    HAVING count(*) > 0;

    -- Room in each page, so that a claim stays in it: a heap-only update, which touches no index. Somebody's own choice is kept.
    RETURN QUERY
    SELECT (crm_sync.step(
        NULL, 'fillfactor', 'SHARE UPDATE EXCLUSIVE',
        format('ALTER TABLE %s SET (fillfactor = 80)', crm_sync.full_name(p.relation)), ARRAY[c.relname::text]
    )).*
    FROM crm_sync.parts() AS p
    JOIN pg_class AS c ON p.relation = c.oid
    WHERE p.is_leaf AND NOT EXISTS (SELECT FROM unnest(c.reloptions) AS o WHERE o LIKE 'fillfactor=%');

    -- For reports: what is retried next. A claim changes no column of it.
    RETURN QUERY SELECT * FROM crm_sync.index_steps(NULL, 'next_retry_at', 'next_retry_at', online);

    FOREACH crm_name IN ARRAY crm_names LOOP
        SELECT l.* INTO lane FROM crm_sync.lanes AS l WHERE l.crm = crm_name;
        remote_id := crm_sync.remote_id_column(crm_name);

        RETURN QUERY
        SELECT (crm_sync.step(
            crm_name, 'column', 'ACCESS EXCLUSIVE',
            format('ALTER TABLE %s %s', contacts, string_agg(format('ADD COLUMN %I %s', w.name, w.definition), ', ')),
            array_agg(w.name)
        )).*
        FROM crm_sync.columns_of(crm_name) AS w
        WHERE NOT crm_sync.has_column(w.name)
        HAVING count(*) > 0;

        -- No index has a column that a claim changes, neither as key nor in its predicate: a claim touches none.
        -- The claim: what is due, in order of service. A row in flight stays in it until it is finished.
        RETURN QUERY SELECT * FROM crm_sync.index_steps(
            crm_name, crm_name || '_due_at', quote_ident(crm_name || '_due_at'), online
        );
        -- People: what failed, by the code of the reason. Cut, because an index entry has a limit and the text has none.
        RETURN QUERY SELECT * FROM crm_sync.index_steps(
            crm_name, crm_name || '_processing_error',
            format('split_part("left"(%I::text, 40), '':'', 1)', crm_name || '_processing_error'), online
        );
        -- The application: which contact is this record of the CRM.
        RETURN QUERY SELECT * FROM crm_sync.index_steps(crm_name, remote_id, quote_ident(remote_id), online);

        IF to_regprocedure(format('crm_sync.%s_flip()', crm_name)) IS NULL THEN
            RETURN NEXT crm_sync.step(
                crm_name, 'function', 'none', format('SELECT crm_sync.create_flip_function(%L)', crm_name)
            );
        END IF;

        -- The worker's own transitions never call the function. A claim sets claimed_by and keeps the due time, a finish clears it
        -- and makes the due time later or none, and neither changes when the contact was flipped. A stale row saved with all its
        -- columns does not look like that.
        RETURN QUERY
        SELECT (crm_sync.step(crm_name, 'trigger', 'SHARE ROW EXCLUSIVE', t.definition)).*
        FROM (
            VALUES (
                format('crm_sync_%s_update', crm_name),
                format(
                    'CREATE TRIGGER crm_sync_%1$s_update '
                    'BEFORE UPDATE OF %1$s_sync_status, %1$s_processing_status, %1$s_processing_error, %2$I ON %3$s '
                    'FOR EACH ROW WHEN ('
                    'NEW.%1$s_claimed_by IS NOT DISTINCT FROM OLD.%1$s_claimed_by '
                    'OR (NEW.%1$s_claimed_by IS NULL) = (NEW.%1$s_due_at IS NOT DISTINCT FROM OLD.%1$s_due_at) '
                    'OR NEW.%1$s_due_at < OLD.%1$s_due_at '
                    'OR NEW.%1$s_flipped_at IS DISTINCT FROM OLD.%1$s_flipped_at '
                    'OR OLD.%1$s_due_at IS NULL) '
                    'EXECUTE FUNCTION crm_sync.%1$s_flip()',
                    crm_name, remote_id, contacts
                )
            ), (
                format('crm_sync_%s_insert', crm_name),
                format(
                    'CREATE TRIGGER crm_sync_%1$s_insert BEFORE INSERT ON %2$s FOR EACH ROW '
                    'WHEN (NEW.%1$s_sync_status = ''Queued'' OR NEW.%1$s_claimed_by IS NOT NULL OR NEW.%1$s_due_at IS NOT NULL) '
                    'EXECUTE FUNCTION crm_sync.%1$s_flip()',
                    crm_name, contacts
                )
            ), (
                -- Of a partitioned table only: a row in line or in flight that moves to another partition stays so.
                format('crm_sync_%s_moved', crm_name),
                format(
                    'CREATE TRIGGER crm_sync_%1$s_moved BEFORE DELETE ON %2$s FOR EACH ROW WHEN (OLD.%1$s_due_at IS NOT NULL) '
                    'EXECUTE FUNCTION crm_sync.%1$s_moved()',
                    crm_name, contacts
                )
            )
        ) AS t (name, definition)
        WHERE
            (is_partitioned OR t.name NOT LIKE '%\_moved')
            AND NOT EXISTS (SELECT FROM pg_trigger AS g WHERE g.tgrelid = crm_sync.contacts() AND g.tgname = t.name);

        IF lane.installed IS NOT TRUE THEN
            RETURN NEXT crm_sync.step(crm_name, 'lane', 'none', format('SELECT crm_sync.set_installed(%L, TRUE)', crm_name));
        END IF;
    END LOOP;
END;
$$;

CREATE OR REPLACE FUNCTION crm_sync.undo_steps(crm_names text[], whole boolean, online boolean)
RETURNS SETOF crm_sync.step
LANGUAGE plpgsql
STABLE
AS $$
DECLARE
    -- NULL where somebody has dropped it: then there is nothing to take off it, but the rest is still to go.
    contacts text := crm_sync.full_name(crm_sync.contacts());
    lane crm_sync.lanes;
    processing_type text;
    made_and_empty boolean := FALSE;
BEGIN
    FOR lane IN SELECT l.* FROM crm_sync.lanes AS l WHERE l.crm = ANY (crm_names) ORDER BY l.id DESC LOOP
        IF lane.installed AND contacts IS NOT NULL THEN
            RETURN NEXT crm_sync.step(lane.crm, 'lane', 'none', format('SELECT crm_sync.set_installed(%L, FALSE)', lane.crm));
        END IF;

        RETURN QUERY
        SELECT (crm_sync.step(lane.crm, 'trigger', 'ACCESS EXCLUSIVE', format('DROP TRIGGER %I ON %s', g.tgname, contacts))).*
        FROM pg_trigger AS g
        WHERE
            g.tgrelid = crm_sync.contacts()
            AND g.tgname = ANY (
                ARRAY(SELECT format('crm_sync_%s_%s', lane.crm, e) FROM unnest('{watch,deleted,moved,insert,update}'::text[]) AS e)
            );
        RETURN QUERY
        SELECT (crm_sync.step(lane.crm, 'function', 'none', format('DROP FUNCTION crm_sync.%s()', p.proname))).*
        FROM pg_proc AS p
        WHERE
            p.pronamespace = 'crm_sync'::regnamespace
            AND p.proname = ANY (ARRAY(SELECT format('%s_%s', lane.crm, e) FROM unnest('{watch,deleted,moved,flip}'::text[]) AS e));

        -- Whoever was in flight when the last worker died: it is as if it had not been sent. Its status may stay behind, and would
        -- say for ever that it is. Some at a time, again and again, for whoever writes to one of them waits for all of these.
        IF crm_sync.has_column(lane.crm || '_claimed_by') AND crm_sync.has_column(lane.crm || '_due_at') THEN
            SELECT format('%I.%I', n.nspname, t.typname) INTO processing_type
            FROM pg_attribute AS a
            JOIN pg_type AS t ON a.atttypid = t.oid
            JOIN pg_namespace AS n ON t.typnamespace = n.oid
            WHERE a.attrelid = crm_sync.contacts() AND a.attname = lane.crm || '_processing_status';
            RETURN NEXT crm_sync.step(
                lane.crm, 'contacts', 'ROW EXCLUSIVE',
                format(
                    'UPDATE %2$s SET '
                    '%1$s_sync_status = CASE %1$s_sync_status WHEN ''Processing'' THEN ''Queued'' ELSE %1$s_sync_status END, '
                    '%1$s_processing_status = '
                    '(CASE WHEN %1$s_sync_status IN (''Processing'', ''Queued'') THEN ''Queued'' END)::%3$s, '
                    '%1$s_claimed_by = NULL '
                    'WHERE %4$I IN '
                    '(SELECT %4$I FROM %2$s WHERE %1$s_due_at IS NOT NULL AND %1$s_claimed_by IS NOT NULL%5$s)',
                    lane.crm, contacts, processing_type, (SELECT a.key_column FROM crm_sync.adopted AS a),
                    CASE WHEN online THEN ' LIMIT 200' ELSE '' END
                )
            );
        END IF;

        RETURN QUERY SELECT * FROM crm_sync.dropping_steps(lane.crm, online);
        RETURN NEXT crm_sync.step(lane.crm, 'lane', 'none', format('DELETE FROM crm_sync.lanes WHERE crm = %L', lane.crm));
    END LOOP;

    IF NOT whole THEN
        RETURN;
    END IF;
    -- Those that `crm-sync grants` has printed.
    RETURN QUERY
    SELECT (crm_sync.step(NULL, 'policy', 'ACCESS EXCLUSIVE', format('DROP POLICY %I ON %s', p.polname, contacts))).*
    FROM pg_policy AS p
    WHERE p.polrelid = crm_sync.contacts() AND p.polname LIKE 'crm\_sync\_%';
    IF contacts IS NOT NULL AND (SELECT a.created FROM crm_sync.adopted AS a) THEN
        EXECUTE format('SELECT NOT EXISTS (SELECT FROM %s)', contacts) INTO made_and_empty;
    END IF;
    IF made_and_empty THEN
        RETURN NEXT crm_sync.step(NULL, 'table', 'ACCESS EXCLUSIVE', 'SELECT crm_sync.drop_contacts()');
    ELSE
        RETURN QUERY SELECT * FROM crm_sync.dropping_steps(NULL, online);
    END IF;
    RETURN QUERY
    SELECT (crm_sync.step(NULL, 'type', 'none', format('DROP TYPE %s', a.name))).*
    FROM crm_sync.added AS a
    WHERE
        -- CASE, for no other name may be read as a type's: one with a blank in it is a syntax error.
        CASE WHEN a.kind = 'type' THEN to_regtype(a.name) IS NOT NULL ELSE FALSE END
    ORDER BY a.name;
END;
$$;
