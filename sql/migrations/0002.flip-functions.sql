-- The trigger functions of the CRMs.

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
    WHERE installed AND crm <> crm_name
$$;

-- (Re)creates the trigger function of one CRM. Each has its own because plpgsql needs the column names at hand, and all are
-- made anew when a CRM is added or removed because each names the retries of the others.
--
-- It runs in every flip, so it holds as little as can be. A fixed search_path would make a flip a fifth slower; instead nothing
-- is looked up by it: types, functions and operators are qualified.
CREATE FUNCTION crm_sync.create_flip_function(crm_name text)
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
