-- Following changes: a contact that is in the CRM goes out again by itself when a column changes that the CRM should know of.

-- The columns of contacts that are crm-sync's own.
CREATE FUNCTION crm_sync.own_columns()
RETURNS text[]
LANGUAGE sql
STABLE
AS $$
    SELECT ARRAY['retry_count', 'last_retry_at', 'next_retry_at', 'last_failed_crm'] || array_agg(owned.name)
    FROM crm_sync.lanes AS l
    CROSS JOIN LATERAL unnest(ARRAY[
        l.remote_id_column,
        l.crm || '_sync_status',
        l.crm || '_processing_status',
        l.crm || '_processing_error',
        l.crm || '_attempts',
        l.crm || '_due_at',
        l.crm || '_claimed_by',
        l.crm || '_synced_at',
        l.crm || '_flipped_at'
    ]) AS owned (name)
$$;

-- Raises undefined_column or invalid_column_reference, each with a sentence for whoever named the columns.
CREATE FUNCTION crm_sync.refuse_unwatchable(columns text[])
RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    contacts regclass := crm_sync.contacts();
    own text[] := crm_sync.own_columns();
    wrong text;
    others text;
BEGIN
    IF coalesce(cardinality(columns), 0) = 0 THEN
        RAISE EXCEPTION 'name one column at least' USING ERRCODE = 'invalid_column_reference';
    END IF;

    SELECT name INTO wrong
    FROM unnest(columns) AS name
    WHERE NOT EXISTS (
        SELECT FROM pg_attribute WHERE attrelid = contacts AND attname = name AND attnum > 0 AND NOT attisdropped
    );
    IF FOUND THEN
        SELECT string_agg(attname, ', ' ORDER BY attnum) INTO others
        FROM pg_attribute
        WHERE attrelid = contacts AND attnum > 0 AND NOT attisdropped AND attgenerated = '' AND attname <> ALL (own);
        RAISE EXCEPTION 'the table % has no column %; those that can be watched are: %', contacts, coalesce(wrong, 'NULL'), others
            USING ERRCODE = 'undefined_column';
    END IF;

    SELECT name INTO wrong FROM unnest(columns) AS name WHERE name = ANY (own);
    IF FOUND THEN
        RAISE EXCEPTION '% is a column of crm-sync itself: its changes are news from a CRM, not for one', wrong
            USING ERRCODE = 'invalid_column_reference';
    END IF;

    SELECT attname INTO wrong FROM pg_attribute WHERE attrelid = contacts AND attname = ANY (columns) AND attgenerated <> '';
    IF FOUND THEN
        RAISE EXCEPTION '% is a generated column, which Postgres computes too late: watch those it is made of', wrong
            USING ERRCODE = 'invalid_column_reference';
    END IF;
END;
$$;

-- (Re)creates the function of one CRM's watch: the flip, made by the database. It names no watched column, so a renamed one stays
-- watched. As in create_flip_function nothing is looked up by the search_path of whoever updates.
CREATE FUNCTION crm_sync.create_watch_function(crm_name text)
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

-- From now on contacts that are wanted in this CRM go out again when one of these columns changes. They replace those that were
-- watched for it before. It waits for the table as long as lock_timeout allows, and while it waits, so does whoever writes.
CREATE FUNCTION crm_sync.watch(crm_name text, columns text[])
RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    contacts regclass := crm_sync.contacts();
    old_values text;
    new_values text;
BEGIN
    -- One at a time: two that replace one function at once fail.
    PERFORM FROM crm_sync.lanes WHERE crm = crm_name FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION '% is not installed on the table %', crm_name, contacts USING ERRCODE = 'undefined_object';
    END IF;
    PERFORM crm_sync.refuse_unwatchable(columns);
    PERFORM crm_sync.create_watch_function(crm_name);

    SELECT string_agg(format('OLD.%I', name), ', '), string_agg(format('NEW.%I', name), ', ')
    INTO old_values, new_values
    FROM unnest(columns) AS name;

    -- An UPDATE that names none of the columns does not even look at the condition. What is compared are the values as they are
    -- stored: that works for any type, and sees a capital letter that citext would not.
    --
    -- Called for a contact that is wanted in the CRM, before and after, and is not flipped by this very UPDATE. The second case
    -- is the stale row: Complete and Processing are the words of workers, who name no column that can be watched. Triggers run in
    -- the order of their names, so crm_sync_<crm>_update has seen the row by then.
    EXECUTE format(
        'CREATE OR REPLACE TRIGGER crm_sync_%1$s_watch '
        'BEFORE UPDATE OF %2$s ON %3$s '
        'FOR EACH ROW WHEN ('
        'OLD.%1$s_sync_status IN (''Queued'', ''Processing'', ''Complete'') '
        'AND NEW.%1$s_sync_status IN (''Queued'', ''Processing'', ''Complete'') '
        'AND NOT (NEW.%1$s_sync_status = ''Queued'' AND NEW.%1$s_flipped_at IS DISTINCT FROM OLD.%1$s_flipped_at) '
        'AND (pg_catalog.record_image_ne(ROW(%4$s), ROW(%5$s)) '
        'OR NEW.%1$s_sync_status <> OLD.%1$s_sync_status)) '
        'EXECUTE FUNCTION crm_sync.%1$s_watch()',
        crm_name,
        (SELECT string_agg(DISTINCT quote_ident(name), ', ') FROM unnest(columns) AS name),
        contacts,
        old_values,
        new_values
    );
END;
$$;

-- Whether there was a watch to end.
CREATE FUNCTION crm_sync.unwatch(crm_name text)
RETURNS boolean
LANGUAGE plpgsql
AS $$
DECLARE
    contacts regclass := crm_sync.contacts();
BEGIN
    PERFORM FROM crm_sync.lanes WHERE crm = crm_name FOR NO KEY UPDATE;
    -- Dropping what is not there would take the lock, too.
    IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = contacts AND tgname = format('crm_sync_%s_watch', crm_name)) THEN
        RETURN FALSE;
    END IF;
    EXECUTE format('DROP TRIGGER crm_sync_%s_watch ON %s', crm_name, contacts);
    EXECUTE format('DROP FUNCTION crm_sync.%s_watch()', crm_name);
    RETURN TRUE;
END;
$$;
