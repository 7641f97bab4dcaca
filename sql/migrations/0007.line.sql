-- The line of each CRM: who is due there, and when, in a narrow table of its own beside the contacts table.
--
-- Before, the line was an index on the due time. A flip sets it and a finish clears it, and an update that changes an indexed column
-- writes a new entry into every index of the table: the application's own too, and the more of them it had, the more a flip cost.
-- Now no index has a column that a flip, a claim or a finish changes, but for the first id in the CRM and the reason of a failure: they
-- are heap-only updates wherever the page has room.
--
-- The truth stays in the row: its states, its claim, its due time. The line only says where to look.
--
--     a row with a due time, in line or in flight    has a line with its key and exactly this due time
--     a line without such a row                      is stepped over, and dropped after a while (drop_stale_lines.sql)
--     a row with a due time, without a line          is found by the full look (add_missing_lines.sql)
--
-- So what writes a row need only ever add a line, never take one away: whatever becomes of the row's own statement afterwards, nobody
-- is forgotten. A finish, which writes the row itself, takes away the line of the due time that it ends.

-- The line of a CRM, as SQL writes it.
CREATE FUNCTION crm_sync.line(crm_name text)
RETURNS text
LANGUAGE sql
IMMUTABLE
AS $$
    SELECT format('crm_sync.%I', crm_name || '_line')
$$;

-- The type that a line has for a column's values. Wide enough for what the column may become: an integer that grows to bigint, a longer
-- varchar. NULL where there is no such column.
CREATE FUNCTION crm_sync.line_type(relation regclass, column_name text)
RETURNS text
LANGUAGE sql
STABLE
AS $$
    SELECT
        CASE
            WHEN t.oid IN ('int2'::regtype, 'int4'::regtype) THEN 'pg_catalog.int8'
            WHEN t.oid = 'varchar'::regtype THEN 'pg_catalog.text'
            ELSE format('%I.%I', n.nspname, t.typname)
        END
        || CASE WHEN a.attcollation <> t.typcollation THEN format(' COLLATE %I.%I', m.nspname, c.collname) ELSE '' END
    FROM pg_attribute AS a
    JOIN pg_type AS t ON a.atttypid = t.oid
    JOIN pg_namespace AS n ON t.typnamespace = n.oid
    LEFT JOIN pg_collation AS c ON a.attcollation = c.oid
    LEFT JOIN pg_namespace AS m ON c.collnamespace = m.oid
    WHERE a.attrelid = relation AND a.attname = column_name AND a.attnum > 0 AND NOT a.attisdropped
$$;

-- Whether a CRM has a line that takes the keys of the contacts table.
CREATE FUNCTION crm_sync.has_line(crm_name text)
RETURNS boolean
LANGUAGE sql
STABLE
AS $$
    SELECT
        to_regclass(crm_sync.line(crm_name)) IS NOT NULL
        AND coalesce(
            crm_sync.line_type(to_regclass(crm_sync.line(crm_name)), 'key') = crm_sync.line_type(a.contacts, a.key_column), TRUE
        )
    FROM crm_sync.adopted AS a
$$;

-- Makes the line of a CRM, empty, where there is none that fits.
CREATE FUNCTION crm_sync.create_line(crm_name text)
RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    line text := crm_sync.line(crm_name);
BEGIN
    IF crm_sync.has_line(crm_name) THEN
        RETURN;
    END IF;
    EXECUTE format('DROP TABLE IF EXISTS %s', line);
    -- It churns: as many rows come and go as contacts are delivered.
    EXECUTE format(
        'CREATE TABLE %s (due_at timestamptz NOT NULL, key %s NOT NULL) '
        'WITH (autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0.05)',
        line, (SELECT crm_sync.line_type(a.contacts, a.key_column) FROM crm_sync.adopted AS a)
    );
    -- The order of service. Not by the key as well: an entry of twice the size, for a lookup that has a handful of equals.
    EXECUTE format('CREATE INDEX %I ON %s (due_at)', crm_name || '_line_due_at', line);
    -- Under a publication of all tables, no row of a table without one can be deleted.
    EXECUTE format('ALTER TABLE %s REPLICA IDENTITY FULL', line);
END;
$$;

-- What the trigger functions do to line a contact up, in plpgsql: adds a line for NEW.
--
-- is_arrival: a row may have come from another partition with its line.
CREATE FUNCTION crm_sync.lining_up(crm_name text, is_arrival boolean)
RETURNS text
LANGUAGE sql
STABLE
AS $sql$
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
$sql$;

-- Who flips has no right on this schema, so a trigger function that adds lines runs as its owner, who need not be the line's. Nobody
-- else may put it on a table of his own. What is in it is qualified for this reason, too.
CREATE FUNCTION crm_sync.let_line_up(crm_name text, function_name text)
RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    line text := crm_sync.line(crm_name);
    owner name;
BEGIN
    EXECUTE format('REVOKE ALL ON FUNCTION crm_sync.%I() FROM PUBLIC', function_name);
    SELECT pg_get_userbyid(p.proowner) INTO STRICT owner
    FROM pg_proc AS p
    WHERE p.pronamespace = 'crm_sync'::regnamespace AND p.proname = function_name;
    IF NOT (has_table_privilege(owner, line, 'SELECT') AND has_table_privilege(owner, line, 'INSERT')) THEN
        EXECUTE format('GRANT SELECT, INSERT ON %s TO %I', line, owner);
    END IF;
END;
$$;

-- (Re)creates what the triggers of one CRM run, with the line that they add to. As before, but for the line; the function for a flip
-- runs as its owner. It rings as the next migration has it, which some databases have already.
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
        crm_sync.lining_up(crm_name, FALSE)      -- 8
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
$create$;

-- (Re)creates the function of one CRM's watch. As before, but for the line; it runs as its owner.
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
        crm_sync.lining_up(crm_name, FALSE)  -- 6
    );
    PERFORM crm_sync.let_line_up(crm_name, crm_name || '_watch');
END;
$create$;

-- The notes of the indexes on the due time that an older version has made, their partitions' among them.
CREATE FUNCTION crm_sync.due_index_notes(crm_name text)
RETURNS TABLE (name text)
LANGUAGE sql
STABLE
AS $$
    SELECT a.name
    FROM crm_sync.added AS a
    WHERE
        a.kind = 'index'
        AND a.crm = crm_name
        AND right(a.name, length(crm_name) + 8) = '_' || crm_name || '_due_at'
$$;

CREATE FUNCTION crm_sync.forget_due_index(crm_name text)
RETURNS void
LANGUAGE sql
AS $$
    DELETE FROM crm_sync.added
    WHERE kind = 'index' AND name IN (SELECT d.name FROM crm_sync.due_index_notes(crm_name) AS d)
$$;

-- Lines for all contacts in line or in flight that have none.
CREATE FUNCTION crm_sync.fill_line(crm_name text)
RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    EXECUTE format(
        'INSERT INTO %1$s (due_at, key) '
        'SELECT c.%2$I, c.%3$I FROM %4$s AS c '
        'WHERE c.%2$I IS NOT NULL '
        'AND NOT EXISTS (SELECT FROM %1$s AS l WHERE l.due_at = c.%2$I AND l.key = c.%3$I)',
        crm_sync.line(crm_name),
        crm_name || '_due_at',
        (SELECT a.key_column FROM crm_sync.adopted AS a),
        crm_sync.full_name(crm_sync.contacts())
    );
END;
$$;

-- All that these CRMs still lack on the contacts table, as before, but for the line in place of the index on the due time; and what is
-- there of an older version.
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

    -- Room in each page, so that a claim stays in it: a heap-only update, which touches no index. A backfill is claimed in the order of
    -- the table, some hundred contacts at a time, so that for a moment each row of a page is there twice. That is no waste: with less room, rows
    -- move until there is as much, and the table ends up larger. Somebody's own choice is kept; an older version left less.
    RETURN QUERY
    SELECT (crm_sync.step(
        NULL, 'fillfactor', 'SHARE UPDATE EXCLUSIVE',
        format('ALTER TABLE %s SET (fillfactor = 50)', crm_sync.full_name(p.relation)), ARRAY[c.relname::text]
    )).*
    FROM crm_sync.parts() AS p
    JOIN pg_class AS c ON p.relation = c.oid
    WHERE
        p.is_leaf
        AND NOT EXISTS (
            SELECT FROM unnest(c.reloptions) AS o
            WHERE
                o LIKE 'fillfactor=%'
                AND NOT (
                    o = 'fillfactor=80'
                    AND EXISTS (SELECT FROM crm_sync.added AS a WHERE a.kind = 'fillfactor' AND a.name = c.relname)
                )
        );

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

        -- No index has a column that a flip or a claim changes, neither as key nor in its predicate, so they touch none. Nor does a
        -- finish, but with the first id in the CRM and the reason of a failure.
        -- People: what failed, by the code of the reason. Cut, because an index entry has a limit and the text has none.
        RETURN QUERY SELECT * FROM crm_sync.index_steps(
            crm_name, crm_name || '_processing_error',
            format('split_part("left"(%I::text, 40), '':'', 1)', crm_name || '_processing_error'), online
        );
        -- The application: which contact is this record of the CRM.
        RETURN QUERY SELECT * FROM crm_sync.index_steps(crm_name, remote_id, quote_ident(remote_id), online);

        -- Of an older version it runs as whoever flips.
        IF NOT (
            coalesce(crm_sync.has_line(crm_name), FALSE)
            AND EXISTS (
                SELECT FROM pg_proc AS p
                WHERE p.pronamespace = 'crm_sync'::regnamespace AND p.proname = crm_name || '_flip' AND p.prosecdef
            )
        ) THEN
            RETURN NEXT crm_sync.step(
                crm_name, 'function', 'none', format('SELECT crm_sync.create_flip_function(%L)', crm_name)
            );
        END IF;

        -- The worker's own transitions never call the function. All of them change the claim, so a flip is told by one comparison: the
        -- condition is parsed anew in every statement of the application, and has a price by its length.
        --
        -- A claim sets claimed_by and keeps the due time, a finish clears it and makes the due time later or none, and neither
        -- changes when the contact was flipped. A stale row saved with all its columns, the claim among them, does not look like
        -- that; it is told by a condition that no statement pays for which does not name the claim. Triggers run in the order of
        -- their names, so after this one the first has nothing more to say.
        RETURN QUERY
        SELECT (crm_sync.step(crm_name, 'trigger', 'SHARE ROW EXCLUSIVE', t.definition)).*
        FROM (
            VALUES (
                format('crm_sync_%s_update', crm_name),
                format(
                    'CREATE OR REPLACE TRIGGER crm_sync_%1$s_update '
                    'BEFORE UPDATE OF %1$s_sync_status, %1$s_processing_status, %1$s_processing_error, %2$I ON %3$s '
                    'FOR EACH ROW WHEN (NEW.%1$s_claimed_by IS NOT DISTINCT FROM OLD.%1$s_claimed_by) '
                    'EXECUTE FUNCTION crm_sync.%1$s_flip()',
                    crm_name, remote_id, contacts
                )
            ), (
                format('crm_sync_%s_update_stale', crm_name),
                format(
                    'CREATE TRIGGER crm_sync_%1$s_update_stale BEFORE UPDATE OF %1$s_claimed_by ON %2$s '
                    'FOR EACH ROW WHEN ('
                    'NEW.%1$s_claimed_by IS DISTINCT FROM OLD.%1$s_claimed_by AND ('
                    '(NEW.%1$s_claimed_by IS NULL) = (NEW.%1$s_due_at IS NOT DISTINCT FROM OLD.%1$s_due_at) '
                    'OR NEW.%1$s_due_at < OLD.%1$s_due_at '
                    'OR NEW.%1$s_flipped_at IS DISTINCT FROM OLD.%1$s_flipped_at '
                    'OR OLD.%1$s_due_at IS NULL)) '
                    'EXECUTE FUNCTION crm_sync.%1$s_flip()',
                    crm_name, contacts
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
                format('crm_sync_%s_placed', crm_name),
                format(
                    'CREATE TRIGGER crm_sync_%1$s_placed AFTER INSERT ON %2$s FOR EACH ROW '
                    'WHEN (NEW.%1$s_due_at IS NOT NULL) EXECUTE FUNCTION crm_sync.%1$s_placed()',
                    crm_name, contacts
                )
            ), (
                -- Only what names the key pays for it. The line of the former one stands for nobody now.
                format('crm_sync_%s_key', crm_name),
                format(
                    'CREATE TRIGGER crm_sync_%1$s_key AFTER UPDATE OF %2$I ON %3$s FOR EACH ROW '
                    'WHEN (NEW.%1$s_due_at IS NOT NULL AND pg_catalog.record_image_ne(ROW(OLD.%2$I), ROW(NEW.%2$I))) '
                    'EXECUTE FUNCTION crm_sync.%1$s_placed()',
                    crm_name, (SELECT a.key_column FROM crm_sync.adopted AS a), contacts
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
            AND NOT EXISTS (
                SELECT FROM pg_trigger AS g
                WHERE
                    g.tgrelid = crm_sync.contacts()
                    AND g.tgname = t.name
                    -- That of an older version has the condition of both.
                    AND (t.name NOT LIKE '%\_update' OR pg_get_triggerdef(g.oid) NOT LIKE '%flipped\_at%')
            );

        -- Of an older version: the contacts in line are in an index on their due time. It goes when all of them have lines. No flip
        -- of before is still to be committed: the trigger was replaced since, which waits for whoever writes.
        IF EXISTS (SELECT FROM crm_sync.due_index_notes(crm_name)) THEN
            RETURN NEXT crm_sync.step(crm_name, 'line', 'none', format('SELECT crm_sync.fill_line(%L)', crm_name));
            RETURN QUERY
            SELECT (crm_sync.step(
                crm_name,
                'index',
                CASE WHEN online AND c.relkind = 'i' THEN 'SHARE UPDATE EXCLUSIVE' ELSE 'ACCESS EXCLUSIVE' END,
                format(
                    'DROP INDEX %s%s',
                    CASE WHEN online AND c.relkind = 'i' THEN 'CONCURRENTLY ' ELSE '' END,
                    crm_sync.full_name(c.oid)
                )
            )).*
            FROM crm_sync.due_index_notes(crm_name) AS d
            JOIN pg_class AS c ON d.name = c.relname
            JOIN pg_index AS i ON c.oid = i.indexrelid
            JOIN crm_sync.parts() AS p ON i.indrelid = p.relation
            WHERE NOT EXISTS (SELECT FROM pg_inherits AS h WHERE h.inhrelid = c.oid);
            RETURN NEXT crm_sync.step(crm_name, 'index', 'none', format('SELECT crm_sync.forget_due_index(%L)', crm_name));
        END IF;

        IF lane.installed IS NOT TRUE THEN
            RETURN NEXT crm_sync.step(crm_name, 'lane', 'none', format('SELECT crm_sync.set_installed(%L, TRUE)', crm_name));
        END IF;
    END LOOP;
END;
$$;

-- What of these CRMs is on the contacts table, as before, and their lines.
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
    key_column text := (SELECT a.key_column FROM crm_sync.adopted AS a);
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
                ARRAY(SELECT format('crm_sync_%s_%s', lane.crm, e) FROM unnest('{watch,deleted,moved,placed,key,insert,update,update_stale}'::text[]) AS e)
            );
        RETURN QUERY
        SELECT (crm_sync.step(lane.crm, 'function', 'none', format('DROP FUNCTION crm_sync.%s()', p.proname))).*
        FROM pg_proc AS p
        WHERE
            p.pronamespace = 'crm_sync'::regnamespace
            AND p.proname = ANY (ARRAY(SELECT format('%s_%s', lane.crm, e) FROM unnest('{watch,deleted,moved,placed,flip}'::text[]) AS e));

        -- Whoever was in flight when the last worker died: it is as if it had not been sent. Its status may stay behind, and would
        -- say for ever that it is. Some at a time, again and again, for whoever writes to one of them waits for all of these.
        IF crm_sync.has_column(lane.crm || '_claimed_by') AND crm_sync.has_column(lane.crm || '_due_at') THEN
            SELECT format('%I.%I', n.nspname, t.typname) INTO processing_type
            FROM pg_attribute AS a
            JOIN pg_type AS t ON a.atttypid = t.oid
            JOIN pg_namespace AS n ON t.typnamespace = n.oid
            WHERE a.attrelid = crm_sync.contacts() AND a.attname = lane.crm || '_processing_status';
            -- First by the line. No index has the claim, so that for those without one the table is read as a whole.
            RETURN QUERY
            SELECT (crm_sync.step(
                lane.crm, 'contacts', 'ROW EXCLUSIVE',
                format(
                    'UPDATE %2$s SET '
                    '%1$s_sync_status = CASE %1$s_sync_status WHEN ''Processing'' THEN ''Queued'' ELSE %1$s_sync_status END, '
                    '%1$s_processing_status = '
                    '(CASE WHEN %1$s_sync_status IN (''Processing'', ''Queued'') THEN ''Queued'' END)::%3$s, '
                    '%1$s_claimed_by = NULL '
                    'WHERE %4$I IN '
                    '(SELECT c.%4$I FROM %5$s WHERE c.%1$s_due_at IS NOT NULL AND c.%1$s_claimed_by IS NOT NULL%6$s)',
                    lane.crm, contacts, processing_type, key_column, w.source, CASE WHEN online THEN ' LIMIT 200' ELSE '' END
                )
            )).*
            FROM (
                VALUES
                (format('%s AS l JOIN %s AS c ON c.%I = l.key', crm_sync.line(lane.crm), contacts, key_column), TRUE),
                (format('%s AS c', contacts), FALSE)
            ) AS w (source, by_line)
            WHERE NOT w.by_line OR crm_sync.has_line(lane.crm);
        END IF;

        IF to_regclass(crm_sync.line(lane.crm)) IS NOT NULL THEN
            RETURN NEXT crm_sync.step(lane.crm, 'line', 'none', format('DROP TABLE %s', crm_sync.line(lane.crm)));
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
