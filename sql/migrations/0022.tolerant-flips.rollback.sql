-- As before, with functions that fail where a column is missing.

CREATE OR REPLACE FUNCTION crm_sync.lining_up(crm_name text, is_arrival boolean)
RETURNS text
LANGUAGE sql
STABLE
AS $function$
    SELECT format(
        $template$
        DECLARE
            line_key %1$s.key%%TYPE;
        BEGIN
            -- Nothing is refused to the application because its key has been renamed, or is of another type now: without a line,
            -- a contact waits for the full look.
            BEGIN
                line_key := NEW.%2$I;
            EXCEPTION
                WHEN OTHERS THEN NULL;
            END;
            IF line_key IS NOT NULL%4$s THEN
                INSERT INTO %1$s (due_at, key) VALUES (NEW.%3$I, line_key);
            END IF;
        END;
        $template$,
        crm_sync.line(crm_name),
        a.key_column,
        crm_name || '_due_at',
        CASE
            WHEN is_arrival THEN format(
                ' AND NOT EXISTS ('
                'SELECT FROM %1$s AS l WHERE l.due_at OPERATOR(pg_catalog.=) NEW.%2$I '
                'AND pg_catalog.record_image_eq(ROW(l.key), ROW(line_key)))',
                crm_sync.line(crm_name), crm_name || '_due_at'
            )
            ELSE ''
        END
    )
    FROM crm_sync.adopted AS a
$function$;

CREATE OR REPLACE FUNCTION crm_sync.create_flip_function(crm_name text)
RETURNS void
LANGUAGE plpgsql
AS $functionx$
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
    PERFORM crm_sync.create_line(crm_name);

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
SECURITY DEFINER
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
        END;%10$s
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
        NEW.%1$s_flipped_at := pg_catalog.clock_timestamp();%9$s
        NEW.%1$s_processing_status := 'Queued'::%5$s;
        NEW.%1$s_processing_error := NULL;
        NEW.%1$s_attempts := 0;
        IF OLD.%1$s_due_at OPERATOR(pg_catalog.<=) NEW.%1$s_flipped_at THEN
            -- A place in line is kept.
            NEW.%1$s_due_at := OLD.%1$s_due_at;
        ELSE
            -- A wait for a retry ends.
            NEW.%1$s_due_at := NEW.%1$s_flipped_at;
            -- Of a new row the key is known for sure, and the row there, only after it was inserted.
            IF TG_OP OPERATOR(pg_catalog.=) 'UPDATE' THEN
%8$s
            END IF;
        END IF;
        -- Granted: a worker is awake and will look again after this transaction. Refused: all sleep, so ring.
        IF NOT pg_catalog.pg_try_advisory_xact_lock_shared(1668443497, %2$s)
            AND coalesce(pg_catalog.current_setting('crm_sync.ring', TRUE), 'on') OPERATOR(pg_catalog.<>) 'off'
        THEN
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
        arrival,                                 -- 7
        crm_sync.lining_up(crm_name, FALSE),     -- 8
        crm_sync.tracing('TRUE'),                -- 9
        crm_sync.tracing(format('NEW.%I OPERATOR(pg_catalog.=) ''Queued''::%s', crm_name || '_sync_status', sync_type)) -- 10
    );
    PERFORM crm_sync.let_line_up(crm_name, crm_name || '_flip');

    EXECUTE format(
        $template$
CREATE OR REPLACE FUNCTION crm_sync.%1$s_placed()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
AS $function$
BEGIN
%2$s
    RETURN NULL;
END;
$function$
        $template$,
        crm_name,                                              -- 1
        crm_sync.lining_up(crm_name, key_of_parts IS NOT NULL)  -- 2
    );
    PERFORM crm_sync.let_line_up(crm_name, crm_name || '_placed');

    -- It names the key, too.
    IF to_regprocedure(format('crm_sync.%I()', crm_name || '_watch')) IS NOT NULL THEN
        PERFORM crm_sync.create_watch_function(crm_name);
    END IF;
END;
$functionx$;

CREATE OR REPLACE FUNCTION crm_sync.create_watch_function(crm_name text)
RETURNS void
LANGUAGE plpgsql
AS $functionx$
DECLARE
    contacts regclass := crm_sync.contacts();
    lane crm_sync.lanes;
    sync_type text;
    processing_type text;
BEGIN
    SELECT * INTO STRICT lane FROM crm_sync.lanes WHERE crm = crm_name;
    PERFORM crm_sync.create_line(crm_name);

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
SECURITY DEFINER
AS $function$
BEGIN
    NEW.%1$s_sync_status := 'Queued'::%4$s;
    -- Also of a contact in line, whose present values are sent anyway: what was tried before had other values.
    NEW.%1$s_flipped_at := pg_catalog.clock_timestamp();%7$s

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
%6$s
    -- Granted: a worker is awake and will look again after this transaction. Refused: all sleep, so ring.
    IF NOT pg_catalog.pg_try_advisory_xact_lock_shared(1668443497, %2$s)
            AND coalesce(pg_catalog.current_setting('crm_sync.ring', TRUE), 'on') OPERATOR(pg_catalog.<>) 'off'
        THEN
        PERFORM pg_catalog.pg_notify('crm_sync', '%1$s');
    END IF;
    RETURN NEW;
END;
$function$
        $template$,
        crm_name,                            -- 1
        lane.id,                             -- 2
        lane.remote_id_column,               -- 3
        sync_type,                           -- 4
        processing_type,                     -- 5
        crm_sync.lining_up(crm_name, FALSE), -- 6
        crm_sync.tracing('TRUE')             -- 7
    );
    PERFORM crm_sync.let_line_up(crm_name, crm_name || '_watch');
END;
$functionx$;

CREATE OR REPLACE FUNCTION crm_sync.set_on_delete(crm_name text, policy text)
RETURNS void
LANGUAGE plpgsql
AS $functionx$
DECLARE
    contacts regclass := crm_sync.contacts();
    adopted crm_sync.adopted;
    moved_row text := '';
    lane crm_sync.lanes;
    trigger_name text := 'crm_sync_' || crm_name || '_deleted';
    has_trigger boolean;
BEGIN
    UPDATE crm_sync.lanes SET on_delete = policy WHERE crm = crm_name RETURNING * INTO STRICT lane;

    has_trigger := EXISTS (SELECT FROM pg_trigger WHERE tgrelid = contacts AND tgname = trigger_name);
    IF policy = 'keep' THEN
        IF has_trigger THEN
            EXECUTE format('DROP TRIGGER %I ON %s', trigger_name, contacts);
        END IF;
        EXECUTE format('DROP FUNCTION IF EXISTS crm_sync.%I()', crm_name || '_deleted');
        RETURN;
    END IF;

    SELECT * INTO STRICT adopted FROM crm_sync.adopted;
    IF NOT crm_sync.has_column(adopted.email_column) THEN
        RAISE EXCEPTION 'the table % has no column %', contacts, adopted.email_column USING ERRCODE = 'undefined_column';
    END IF;

    -- A row that moves from one partition to another is deleted in the one and inserted into the other.
    IF EXISTS (SELECT FROM pg_partitioned_table WHERE partrelid = contacts) THEN
        IF row_security_active(contacts) THEN
            RAISE EXCEPTION 'row level security is forced on the owner of % as well, so that a row that has moved to another partition '
                'may look like a deleted one: ALTER TABLE % NO FORCE ROW LEVEL SECURITY', contacts, contacts
                USING ERRCODE = 'object_not_in_prerequisite_state';
        END IF;
        -- Not by its name, which may change: the application's deletions would fail.
        moved_row := format(
            $moved$
    EXECUTE format('SELECT EXISTS (SELECT FROM %%s AS c WHERE c.%%I = $1)', crm_sync.contacts(), %1$L)
    INTO is_there USING OLD.%1$I;
    IF is_there THEN
        RETURN NULL;
    END IF;
            $moved$,
            adopted.key_column
        );
    END IF;

    -- It runs as its owner, for whoever deletes has no right on this schema.
    --
    -- 5 minutes, because a contact in flight may still land in the CRM. A request takes 60 s at most (TIMEOUT_S of Mautic and n8n,
    -- 20 s elsewhere), and a contact needs four at most (Mautic: two looks, an edit, and a new one where the record was gone). A
    -- minute is for its turn.
    EXECUTE format(
        $template$
CREATE OR REPLACE FUNCTION crm_sync.%1$I()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    is_there boolean;
BEGIN
    %8$s
    INSERT INTO crm_sync.tombstones (crm, contact_id, remote_id, email, policy, due_at)
    VALUES (
        %2$L,
        OLD.%3$I::pg_catalog.text,
        OLD.%4$I::pg_catalog.text,
        OLD.%5$I::pg_catalog.text,
        %6$L,
        pg_catalog.clock_timestamp() + CASE
            WHEN OLD.%7$I IS NULL THEN interval '0'
            ELSE interval '5 minutes'
        END
    );
    RETURN NULL;
END;
$function$
        $template$,
        crm_name || '_deleted',     -- 1
        crm_name,                   -- 2
        adopted.key_column,         -- 3
        lane.remote_id_column,      -- 4
        adopted.email_column,       -- 5
        policy,                     -- 6
        crm_name || '_claimed_by',  -- 7
        moved_row                   -- 8
    );

    -- Who could put it on a table of his own could have any record deleted. Firing it takes no right.
    EXECUTE format('REVOKE ALL ON FUNCTION crm_sync.%I() FROM PUBLIC', crm_name || '_deleted');

    IF NOT has_trigger THEN
        EXECUTE format(
            'CREATE TRIGGER %I AFTER DELETE ON %s FOR EACH ROW WHEN ('
            'OLD.%I IS NOT NULL OR OLD.%I IS NOT NULL OR OLD.%I IS NOT NULL OR OLD.%I > 0) '
            'EXECUTE FUNCTION crm_sync.%I()',
            trigger_name, contacts,
            lane.remote_id_column, crm_name || '_synced_at', crm_name || '_claimed_by', crm_name || '_attempts',
            crm_name || '_deleted'
        );
    END IF;
END;
$functionx$;

CREATE OR REPLACE FUNCTION crm_sync.other_retries(crm_name text, contact text)
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
    WHERE
        installed
        AND crm <> crm_name
        AND 2 = (
            SELECT count(*)
            FROM crm_sync.adopted AS t
            JOIN pg_attribute AS a ON t.contacts = a.attrelid
            WHERE
                a.attname IN (crm || '_processing_error', crm || '_due_at')
                AND NOT a.attisdropped
                AND has_column_privilege(a.attrelid, a.attnum, 'SELECT')
        )
$$;

DO $catch$
DECLARE
    maker regprocedure;
    definition text;
    was text;
    change text[];
BEGIN
    FOREACH change SLICE 1 IN ARRAY ARRAY[
        [
            'crm_sync.create_catch()',
            E'                $template$\n    IF NEW.%1$s_sync_status::pg_catalog.text',
            E'                $template$\n    BEGIN\n    IF NEW.%1$s_sync_status::pg_catalog.text'
        ],
        [
            'crm_sync.create_catch()',
            E'        END IF;\n    END IF;\n                $template$,\n                l.crm\n',
            E'        END IF;\n    END IF;%2$s    END;\n                $template$,\n'
            '                l.crm,\n                crm_sync.forgiving(l.crm)\n'
        ],
        [
            'crm_sync.create_catch()',
            E'            RAISE WARNING ''crm-sync has not seen a flip that a trigger made (SQLSTATE %%), and will find it later'', SQLSTATE;\n',
            E'            IF coalesce(pg_catalog.current_setting(''crm_sync.catch_told'', TRUE), '''') OPERATOR(pg_catalog.<>) SQLSTATE THEN\n'
            '                PERFORM pg_catalog.set_config(''crm_sync.catch_told'', SQLSTATE, TRUE);\n'
            '                RAISE WARNING ''crm-sync has not seen a flip that a trigger made (SQLSTATE %%), and will find it later'', SQLSTATE;\n'
            '            END IF;\n'
        ],
        [
            'crm_sync.catch_steps(text[])',
            E'            WHERE f.oid = to_regprocedure(''crm_sync.catch_flips()'')\n',
            E'            WHERE f.oid = to_regprocedure(''crm_sync.catch_flips()'') AND strpos(f.prosrc, ''crm_sync.catch_told'') > 0\n'
        ]
    ] LOOP
        maker := change[1]::regprocedure;
        was := pg_get_functiondef(maker);
        definition := replace(was, change[3], change[2]);
        IF definition = was THEN
            RAISE EXCEPTION '% is not as this rollback expects: it lacks %', maker, change[3];
        END IF;
        EXECUTE definition;
    END LOOP;
END;
$catch$;

DO $renewal$
BEGIN
    PERFORM crm_sync.renew_flip_functions();
    PERFORM crm_sync.set_on_delete(l.crm, l.on_delete) FROM crm_sync.lanes AS l WHERE l.on_delete <> 'keep' ORDER BY l.id;
END;
$renewal$;

DROP FUNCTION crm_sync.create_deleted_function(text);

DROP FUNCTION crm_sync.named_in(text, integer);

DROP FUNCTION crm_sync.status_types(text);

DROP FUNCTION crm_sync.finding_place(text);

DROP FUNCTION crm_sync.line_variables(text);

DROP FUNCTION crm_sync.line_key_type(text);

DROP FUNCTION crm_sync.forgiving(text, text);
