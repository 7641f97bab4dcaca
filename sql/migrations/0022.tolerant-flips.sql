-- Nothing is refused to the application because somebody has renamed, dropped or retyped a column of crm-sync or the key.
--
-- Before, a trigger function that named such a column failed, and with it the application's transaction, flips for other CRMs too.
-- Now the write goes through with a warning, once in a transaction. The lane of that CRM is held anyway, with a reason. What was flipped
-- meanwhile is found by the full look as soon as the column is there again.
--
-- So everything that can fail is in one block that catches all errors: reading columns and setting them. A subtransaction is all that
-- such a block costs, and each flip had one already, for the key. Nothing is written in it: a subtransaction that writes needs an id of
-- its own, and a large UPDATE would then have more of them than snapshots have room for. What is to be written is kept in variables.
--
-- An error leaves what was set before it. So columns are set in an order in which each part of it is something that the full look
-- repairs: the status before the claim, the due time last.

-- The handler of such a block, in plpgsql.
--
-- is_taken: an expression that is true where nothing was missed. The messages of class 42 have names and types in them; others may
-- have values, which must not get into the server's log.
CREATE FUNCTION crm_sync.forgiving(crm_name text, is_taken text DEFAULT 'FALSE')
RETURNS text
LANGUAGE sql
IMMUTABLE
AS $sql$
    SELECT format(
        $template$
    EXCEPTION
        WHEN OTHERS THEN
            IF NOT %2$s AND coalesce(pg_catalog.current_setting('crm_sync.%1$s_told', TRUE), '') OPERATOR(pg_catalog.<>) SQLSTATE THEN
                PERFORM pg_catalog.set_config('crm_sync.%1$s_told', SQLSTATE, TRUE);
                RAISE WARNING 'crm-sync has not seen this change for %1$s: %%', CASE
                    WHEN pg_catalog.starts_with(SQLSTATE, '42') THEN SQLERRM
                    ELSE pg_catalog.concat('SQLSTATE ', SQLSTATE)
                END
                USING HINT = 'The change is saved, and a worker finds it once this is fixed: rename the column back, or run '
                    '`crm-sync adopt`, which adds what is missing. `crm-sync check` says what else is wrong. If nothing is, connect again.';
            END IF;
        $template$,
        crm_name,
        is_taken
    )
$sql$;

-- The type of the line's key as the functions below need it, as SQL writes it; NULL where they take it from the line itself.
--
-- It is named where it is Postgres's own, so that they work without the line, too. Others may be renamed. Of a domain it is the type
-- beneath: a domain may refuse NULL, which a variable is at first.
CREATE FUNCTION crm_sync.line_key_type(crm_name text)
RETURNS text
LANGUAGE sql
STABLE
AS $sql$
    WITH RECURSIVE beneath AS (
        SELECT
            t.*,
            FALSE AS is_beneath
        FROM pg_attribute AS a
        JOIN pg_type AS t ON a.atttypid = t.oid
        WHERE a.attrelid = to_regclass(crm_sync.line(crm_name)) AND a.attname = 'key'
        UNION ALL
        SELECT
            t.*,
            TRUE
        FROM beneath AS b
        JOIN pg_type AS t ON b.typbasetype = t.oid
    )

    SELECT format('%I.%I', n.nspname, b.typname)
    FROM beneath AS b
    JOIN pg_namespace AS n ON b.typnamespace = n.oid
    WHERE b.typbasetype = 0 AND (b.is_beneath OR n.nspname = 'pg_catalog')
$sql$;

-- The variables of a function that lines contacts up, in plpgsql: the line that is to be added, if any.
CREATE FUNCTION crm_sync.line_variables(crm_name text)
RETURNS text
LANGUAGE sql
STABLE
AS $sql$
    SELECT format(
        $template$
    line_due_at pg_catalog.timestamptz;
    line_key %s;$template$,
        coalesce(crm_sync.line_key_type(crm_name), crm_sync.line(crm_name) || '.key%TYPE')
    )
$sql$;

-- What fills them from NEW, in such a block.
--
-- It fails where the line is gone, too: Postgres looks a literal's table up once in a session, and again after the table was dropped.
CREATE FUNCTION crm_sync.finding_place(crm_name text)
RETURNS text
LANGUAGE sql
STABLE
AS $sql$
    SELECT format(
        $template$
        line_due_at := NEW.%2$I;
        line_key := CASE WHEN '%1$s'::pg_catalog.regclass IS NOT NULL THEN NEW.%3$I END;$template$,
        crm_sync.line(crm_name),
        crm_name || '_due_at',
        a.key_column
    )
    FROM crm_sync.adopted AS a
$sql$;

-- What adds the line, after the block.
--
-- is_arrival: a row may have come from another partition with its line.
CREATE OR REPLACE FUNCTION crm_sync.lining_up(crm_name text, is_arrival boolean)
RETURNS text
LANGUAGE sql
STABLE
AS $sql$
    SELECT format(
        $template$
    IF line_key IS NOT NULL%2$s THEN
        INSERT INTO %1$s (due_at, key) VALUES (line_due_at, line_key);
    END IF;$template$,
        crm_sync.line(crm_name),
        CASE
            WHEN is_arrival THEN format(
                ' AND NOT EXISTS ('
                'SELECT FROM %s AS l WHERE l.due_at OPERATOR(pg_catalog.=) line_due_at '
                'AND pg_catalog.record_image_eq(ROW(l.key%s), ROW(line_key)))',
                crm_sync.line(crm_name),
                coalesce('::' || crm_sync.line_key_type(crm_name), '')
            )
            ELSE ''
        END
    )
$sql$;

-- The earliest next attempt of a contact at the CRMs other than this one, as an SQL expression over the given row. As in 0006; a due
-- time that is no time any more is left out, too: it would stop the others' outcomes from being written.
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
            JOIN pg_type AS y ON a.atttypid = y.oid
            WHERE
                (a.attname = crm || '_processing_error' OR (a.attname = crm || '_due_at' AND y.typcategory = 'D'))
                AND NOT a.attisdropped
                AND has_column_privilege(a.attrelid, a.attnum, 'SELECT')
        )
$$;

-- The types of a CRM's two status columns. Of one that is gone any will do: the function is made anew when it is there again.
CREATE FUNCTION crm_sync.status_types(crm_name text, OUT sync_type text, OUT processing_type text)
LANGUAGE sql
STABLE
AS $$
    SELECT
        coalesce(max(format('%I.%I', n.nspname, t.typname)) FILTER (WHERE a.attname = crm_name || '_sync_status'), 'pg_catalog.text'),
        coalesce(max(format('%I.%I', n.nspname, t.typname)) FILTER (WHERE a.attname = crm_name || '_processing_status'), 'pg_catalog.text')
    FROM pg_attribute AS a
    JOIN pg_type AS t ON a.atttypid = t.oid
    JOIN pg_namespace AS n ON t.typnamespace = n.oid
    WHERE a.attrelid = crm_sync.contacts() AND NOT a.attisdropped
$$;

-- (Re)creates what the triggers of one CRM run.
--
-- A flip runs in the application's statement, so it holds as little as can be. A fixed search_path would make it a fifth slower; instead
-- nothing is looked up by it: types, functions and operators are qualified.
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
    SELECT t.* INTO sync_type, processing_type FROM crm_sync.status_types(crm_name) AS t;

    -- A row that moves to another partition is deleted in the one and inserted into the other, by one UPDATE. It stays in flight, or
    -- in line, as it was: told by what its deletion has noted down a moment ago. Other tables have none of this. Where a column is
    -- missing, both fail alike, and the row stays as it was, too.
    IF key_of_parts IS NOT NULL THEN
        arrival := format(
            $moved$
        IF TG_OP OPERATOR(pg_catalog.=) 'INSERT' AND NEW.%1$s_due_at IS NOT NULL THEN
            IF pg_catalog.current_setting('crm_sync.%1$s_moved', TRUE) OPERATOR(pg_catalog.=)
                ROW(NEW.%2$I, NEW.%1$s_claimed_by, NEW.%1$s_due_at)::pg_catalog.text
            THEN
%3$s
                RETURN NEW;
            END IF;
        END IF;
            $moved$,
            crm_name, key_of_parts, crm_sync.finding_place(crm_name)
        );
        EXECUTE format(
            $moved$
CREATE OR REPLACE FUNCTION crm_sync.%1$s_moved()
RETURNS trigger
LANGUAGE plpgsql
AS $function$
BEGIN
    BEGIN
        PERFORM pg_catalog.set_config(
            'crm_sync.%1$s_moved', ROW(OLD.%2$I, OLD.%1$s_claimed_by, OLD.%1$s_due_at)::pg_catalog.text, TRUE
        );
    %3$s
    END;
    RETURN OLD;
END;
$function$
            $moved$,
            crm_name, key_of_parts, crm_sync.forgiving(crm_name)
        );
    END IF;

    EXECUTE format(
        $template$
CREATE OR REPLACE FUNCTION crm_sync.%1$s_flip()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
AS $function$
DECLARE%11$s
    is_queued pg_catalog.bool := FALSE;
    is_taken pg_catalog.bool := FALSE;
    is_stale_word pg_catalog.bool;
BEGIN
    BEGIN
        IF TG_OP OPERATOR(pg_catalog.=) 'UPDATE' AND (
            coalesce(NEW.%1$s_claimed_by, 0) OPERATOR(pg_catalog.<>) coalesce(OLD.%1$s_claimed_by, 0)
            OR coalesce(NEW.%1$s_due_at, '-infinity') OPERATOR(pg_catalog.<>) coalesce(OLD.%1$s_due_at, '-infinity')
            OR coalesce(NEW.%1$s_flipped_at, '-infinity') OPERATOR(pg_catalog.<>) coalesce(OLD.%1$s_flipped_at, '-infinity')
            OR coalesce(NEW.%1$s_synced_at, '-infinity') OPERATOR(pg_catalog.<>) coalesce(OLD.%1$s_synced_at, '-infinity')
        ) THEN
            -- The worker's words in it, and the first word of every row, are nobody's: they would take back a flip made since.
            is_stale_word := NEW.%1$s_sync_status OPERATOR(pg_catalog.<>) OLD.%1$s_sync_status
                AND NEW.%1$s_sync_status::pg_catalog.text OPERATOR(pg_catalog.=) ANY (
                    '{New, Processing, Complete, Error}'::pg_catalog.text[]
                );
            IF is_stale_word THEN
                NEW.%1$s_sync_status := OLD.%1$s_sync_status;
            END IF;
            -- No application writes these: an ORM saves a row as a whole that it read before they last changed.
            NEW.%1$s_claimed_by := OLD.%1$s_claimed_by;
            NEW.%1$s_due_at := OLD.%1$s_due_at;
            NEW.%1$s_processing_status := OLD.%1$s_processing_status;
            NEW.%1$s_processing_error := OLD.%1$s_processing_error;
            NEW.%3$I := OLD.%3$I;
            NEW.%1$s_attempts := OLD.%1$s_attempts;
            NEW.%1$s_synced_at := OLD.%1$s_synced_at;
            NEW.%1$s_flipped_at := OLD.%1$s_flipped_at;
            IF is_stale_word THEN
                RETURN NEW;
            END IF;
        END IF;

        IF OLD.%1$s_claimed_by IS NOT NULL THEN
            -- In flight: the word of the application is taken, the worker's columns stay.
            NEW.%1$s_claimed_by := OLD.%1$s_claimed_by;
            NEW.%1$s_due_at := OLD.%1$s_due_at;
            NEW.%1$s_processing_status := OLD.%1$s_processing_status;
            NEW.%1$s_processing_error := OLD.%1$s_processing_error;
            NEW.%3$I := OLD.%3$I;
            NEW.%1$s_attempts := OLD.%1$s_attempts;
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
            IF NEW.%1$s_sync_status OPERATOR(pg_catalog.=) 'Processing'::%4$s THEN
                NEW.%1$s_sync_status := 'Queued'::%4$s;
            END IF;
            NEW.%1$s_claimed_by := NULL;
            NEW.%1$s_processing_status := NULL;
        END IF;

        IF NEW.%1$s_sync_status OPERATOR(pg_catalog.=) 'Queued'::%4$s THEN
            NEW.%1$s_flipped_at := pg_catalog.clock_timestamp();%9$s
            NEW.%1$s_processing_status := 'Queued'::%5$s;
            NEW.%1$s_processing_error := NULL;
            NEW.%1$s_attempts := 0;
            is_queued := TRUE;
            IF OLD.%1$s_due_at OPERATOR(pg_catalog.<=) NEW.%1$s_flipped_at THEN
                -- A place in line is kept.
                NEW.%1$s_due_at := OLD.%1$s_due_at;
            ELSE
                -- A wait for a retry ends.
                NEW.%1$s_due_at := NEW.%1$s_flipped_at;
%8$s
            END IF;
        ELSE
            IF OLD.%1$s_due_at IS NOT NULL THEN
                -- Withdrawn. What older code writes into these columns itself is respected.
                IF NEW.%1$s_processing_status OPERATOR(pg_catalog.=) OLD.%1$s_processing_status THEN
                    NEW.%1$s_processing_status := NULL;
                END IF;
                IF NEW.%1$s_processing_error OPERATOR(pg_catalog.=) OLD.%1$s_processing_error THEN
                    NEW.%1$s_processing_error := NULL;
                END IF;
            END IF;
            NEW.%1$s_due_at := NULL;
        END IF;
        is_taken := TRUE;

        -- It was waiting for a retry, and waits no longer: the roll-up forgets this one. Last, as it names columns of other CRMs.
        IF OLD.%1$s_processing_error IS NOT NULL AND OLD.%1$s_due_at IS NOT NULL THEN
            NEW.next_retry_at := %6$s;
        END IF;
    %12$s
    END;

    -- Of a new row the key is known for sure, and the row there, only after it was inserted.
    IF TG_OP OPERATOR(pg_catalog.=) 'UPDATE' THEN
%13$s
    END IF;
    -- Granted: a worker is awake and will look again after this transaction. Refused: all sleep, so ring.
    IF is_queued AND NOT pg_catalog.pg_try_advisory_xact_lock_shared(1668443497, %2$s)
        AND coalesce(pg_catalog.current_setting('crm_sync.ring', TRUE), 'on') OPERATOR(pg_catalog.<>) 'off'
    THEN
        PERFORM pg_catalog.pg_notify('crm_sync', '%1$s');
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
        crm_sync.finding_place(crm_name),        -- 8
        crm_sync.tracing('TRUE'),                -- 9
        crm_sync.tracing(format('NEW.%I OPERATOR(pg_catalog.=) ''Queued''::%s', crm_name || '_sync_status', sync_type)), -- 10
        crm_sync.line_variables(crm_name),       -- 11
        crm_sync.forgiving(crm_name, 'is_taken'), -- 12
        crm_sync.lining_up(crm_name, FALSE)      -- 13
    );
    PERFORM crm_sync.let_line_up(crm_name, crm_name || '_flip');

    EXECUTE format(
        $template$
CREATE OR REPLACE FUNCTION crm_sync.%1$s_placed()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
AS $function$
DECLARE%2$s
BEGIN
    IF TG_OP OPERATOR(pg_catalog.=) 'INSERT'
        AND coalesce(pg_catalog.current_setting('crm_sync.%1$s_told', TRUE), '') OPERATOR(pg_catalog.=) ''
    THEN
        -- The function above has read both a moment ago, so this needs no block.
        line_due_at := NEW.%1$s_due_at;
        line_key := NEW.%6$I;
    ELSE
        BEGIN
%3$s
    %4$s
        END;
    END IF;
%5$s
    RETURN NULL;
END;
$function$
        $template$,
        crm_name,                                               -- 1
        crm_sync.line_variables(crm_name),                      -- 2
        crm_sync.finding_place(crm_name),                       -- 3
        crm_sync.forgiving(crm_name),                           -- 4
        crm_sync.lining_up(crm_name, key_of_parts IS NOT NULL), -- 5
        (SELECT a.key_column FROM crm_sync.adopted AS a)        -- 6
    );
    PERFORM crm_sync.let_line_up(crm_name, crm_name || '_placed');

    -- It names the key, too.
    IF to_regprocedure(format('crm_sync.%I()', crm_name || '_watch')) IS NOT NULL THEN
        PERFORM crm_sync.create_watch_function(crm_name);
    END IF;
END;
$create$;

-- (Re)creates the function of one CRM's watch: the flip, made by the database. It names no watched column, so a renamed one stays
-- watched.
CREATE OR REPLACE FUNCTION crm_sync.create_watch_function(crm_name text)
RETURNS void
LANGUAGE plpgsql
AS $create$
DECLARE
    lane crm_sync.lanes;
    sync_type text;
    processing_type text;
BEGIN
    SELECT * INTO STRICT lane FROM crm_sync.lanes WHERE crm = crm_name;
    PERFORM crm_sync.create_line(crm_name);
    SELECT t.* INTO sync_type, processing_type FROM crm_sync.status_types(crm_name) AS t;

    EXECUTE format(
        $template$
CREATE OR REPLACE FUNCTION crm_sync.%1$s_watch()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
AS $function$
DECLARE%6$s
    is_queued pg_catalog.bool := FALSE;
BEGIN
    BEGIN
        NEW.%1$s_sync_status := 'Queued'::%4$s;
        -- Also of a contact in line, whose present values are sent anyway: what was tried before had other values.
        NEW.%1$s_flipped_at := pg_catalog.clock_timestamp();%7$s

        IF OLD.%1$s_due_at IS NOT NULL THEN
            -- In flight: it goes out once more. In line: it keeps its place, and its wait for a retry. A stale row, which an ORM has
            -- read before the flip and saves as a whole, withdraws nothing.
            NEW.%1$s_claimed_by := OLD.%1$s_claimed_by;
            NEW.%1$s_due_at := OLD.%1$s_due_at;
            NEW.%1$s_processing_status := OLD.%1$s_processing_status;
            NEW.%1$s_processing_error := OLD.%1$s_processing_error;
            NEW.%3$I := OLD.%3$I;
            NEW.%1$s_attempts := OLD.%1$s_attempts;
            NEW.%1$s_synced_at := OLD.%1$s_synced_at;
            NEW.next_retry_at := OLD.next_retry_at;
            RETURN NEW;
        END IF;

        NEW.%1$s_processing_status := 'Queued'::%5$s;
        NEW.%1$s_processing_error := NULL;
        NEW.%1$s_attempts := 0;
        NEW.%1$s_due_at := NEW.%1$s_flipped_at;
        is_queued := TRUE;%8$s
    %9$s
    END;
%10$s
    -- Granted: a worker is awake and will look again after this transaction. Refused: all sleep, so ring.
    IF is_queued AND NOT pg_catalog.pg_try_advisory_xact_lock_shared(1668443497, %2$s)
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
        crm_sync.line_variables(crm_name),   -- 6
        crm_sync.tracing('TRUE'),            -- 7
        crm_sync.finding_place(crm_name),    -- 8
        crm_sync.forgiving(crm_name),        -- 9
        crm_sync.lining_up(crm_name, FALSE)  -- 10
    );
    PERFORM crm_sync.let_line_up(crm_name, crm_name || '_watch');
END;
$create$;

-- The present name of a column that a trigger of the contacts table names at this place of UPDATE OF: Postgres lets a trigger follow a
-- renamed column. NULL where there is none.
CREATE FUNCTION crm_sync.named_in(trigger_name text, place integer)
RETURNS text
LANGUAGE sql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT a.attname::text
    FROM pg_trigger AS g
    CROSS JOIN LATERAL unnest(g.tgattr::smallint[]) WITH ORDINALITY AS k (attnum, place)
    JOIN pg_attribute AS a ON g.tgrelid = a.attrelid AND k.attnum = a.attnum
    WHERE g.tgrelid = crm_sync.contacts() AND g.tgname = trigger_name AND k.place = named_in.place AND NOT a.attisdropped
$$;

-- (Re)creates the function that leaves a tombstone in the place of a deleted row.
--
-- No full look finds a deleted row. So where a column is missing, its values are looked for under the names that the columns have now.
CREATE FUNCTION crm_sync.create_deleted_function(crm_name text)
RETURNS void
LANGUAGE plpgsql
AS $create$
DECLARE
    lane crm_sync.lanes;
    adopted crm_sync.adopted;
    is_partitioned boolean;
BEGIN
    SELECT * INTO STRICT lane FROM crm_sync.lanes WHERE crm = crm_name;
    SELECT * INTO STRICT adopted FROM crm_sync.adopted;
    is_partitioned := EXISTS (SELECT FROM pg_partitioned_table WHERE partrelid = adopted.contacts);

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
    key_column text := %3$L;
    contact text;
    address text;
    remote text;
    is_in_flight boolean := TRUE;
    is_there boolean := FALSE;
    whole jsonb;
BEGIN
    BEGIN
        contact := OLD.%3$I::text;
        address := OLD.%5$I::text;
        remote := OLD.%4$I::text;
        is_in_flight := OLD.%7$I IS NOT NULL;
    %8$s
            whole := to_jsonb(OLD);
            IF contact IS NULL THEN
                key_column := crm_sync.named_in(%10$L, 1);
                contact := coalesce(whole ->> key_column, '');
            END IF;
            address := coalesce(address, whole ->> %5$L);
            remote := coalesce(remote, whole ->> %4$L, whole ->> crm_sync.named_in(%11$L, 4));
            is_in_flight := whole ->> %7$L IS NOT NULL OR NOT whole ? %7$L;
    END;
%9$s
    INSERT INTO crm_sync.tombstones (crm, contact_id, remote_id, email, policy, due_at)
    VALUES (
        %2$L,
        contact,
        remote,
        address,
        %6$L,
        clock_timestamp() + CASE WHEN is_in_flight THEN interval '5 minutes' ELSE interval '0' END
    );
    RETURN NULL;
END;
$function$
        $template$,
        crm_name || '_deleted',                   -- 1
        crm_name,                                 -- 2
        adopted.key_column,                       -- 3
        lane.remote_id_column,                    -- 4
        adopted.email_column,                     -- 5
        lane.on_delete,                           -- 6
        crm_name || '_claimed_by',                -- 7
        crm_sync.forgiving(crm_name),             -- 8
        CASE
            -- A row that moves from one partition to another is deleted in the one and inserted into the other. Without a key nobody
            -- can tell, and the record of a contact that is there must stay. The table is found by its oid, for it may have been renamed.
            WHEN is_partitioned THEN
                $moved$
    IF key_column IS NULL THEN
        RETURN NULL;
    END IF;
    EXECUTE format('SELECT EXISTS (SELECT FROM %s AS c WHERE c.%I = ($1).%2$I)', crm_sync.contacts(), key_column)
    INTO is_there USING OLD;
    IF is_there THEN
        RETURN NULL;
    END IF;
                $moved$
            ELSE ''
        END,                                      -- 9
        format('crm_sync_%s_key', crm_name),      -- 10
        format('crm_sync_%s_update', crm_name)    -- 11
    );

    -- Who could put it on a table of his own could have any record deleted. Firing it takes no right.
    EXECUTE format('REVOKE ALL ON FUNCTION crm_sync.%I() FROM PUBLIC', crm_name || '_deleted');
END;
$create$;

-- Sets what becomes of deleted contacts at one CRM. What is deleted already keeps its tombstone, whatever is set later.
--
-- The trigger is there only where there is something to do. It is a row's, so that partitions and cascades are seen. It leaves a
-- tombstone for every row that may have a record in the CRM: with an id; delivered, though without one; tried, for an answer that
-- was lost says nothing; or in flight.
CREATE OR REPLACE FUNCTION crm_sync.set_on_delete(crm_name text, policy text)
RETURNS void
LANGUAGE plpgsql
AS $set$
DECLARE
    contacts regclass := crm_sync.contacts();
    email_column text := (SELECT a.email_column FROM crm_sync.adopted AS a);
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

    IF NOT crm_sync.has_column(email_column) THEN
        RAISE EXCEPTION 'the table % has no column %', contacts, email_column USING ERRCODE = 'undefined_column';
    END IF;
    IF EXISTS (SELECT FROM pg_partitioned_table WHERE partrelid = contacts) AND row_security_active(contacts) THEN
        RAISE EXCEPTION 'row level security is forced on the owner of % as well, so that a row that has moved to another partition '
            'may look like a deleted one: ALTER TABLE % NO FORCE ROW LEVEL SECURITY', contacts, contacts
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    PERFORM crm_sync.create_deleted_function(crm_name);

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
$set$;

-- The trigger for flips of the application's own triggers: it looks at each CRM in a block, so that what is wrong with one does not
-- concern the others, and warns once in a transaction. In the functions as they are by now, so that nothing else is repeated here.
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
        -- That of an older version is replaced.
        [
            'crm_sync.catch_steps(text[])',
            E'            WHERE f.oid = to_regprocedure(''crm_sync.catch_flips()'')\n',
            E'            WHERE f.oid = to_regprocedure(''crm_sync.catch_flips()'') AND strpos(f.prosrc, ''crm_sync.catch_told'') > 0\n'
        ]
    ] LOOP
        maker := change[1]::regprocedure;
        was := pg_get_functiondef(maker);
        definition := replace(was, change[2], change[3]);
        IF definition = was THEN
            RAISE EXCEPTION '% is not as this migration expects: it lacks %', maker, change[2];
        END IF;
        EXECUTE definition;
    END LOOP;
END;
$catch$;

-- Those of CRMs that are on the table already.
DO $renewal$
BEGIN
    PERFORM crm_sync.renew_flip_functions();
    PERFORM crm_sync.create_deleted_function(l.crm)
    FROM crm_sync.lanes AS l
    WHERE to_regprocedure(format('crm_sync.%I()', l.crm || '_deleted')) IS NOT NULL
    ORDER BY l.id;
END;
$renewal$;
