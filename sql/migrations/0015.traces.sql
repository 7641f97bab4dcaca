-- Traces: which trace of the application a flip belongs to. SET LOCAL crm_sync.traceparent = '...' in its transaction says so.
--
-- Only where it is on. Then the contacts table has a column for it, and the functions of the triggers have a line that fills it. Where
-- it is off they are, letter by letter, what they were, so that a flip pays nothing.

-- The column of the contacts table.
CREATE FUNCTION crm_sync.trace_column()
RETURNS text
LANGUAGE sql
IMMUTABLE
AS $$
    SELECT 'crm_sync_traceparent'
$$;

-- What the trigger functions do to note it down, in plpgsql; nothing where it is off.
--
-- Outside of such a transaction the setting is not there, or empty. The worker takes nothing that is no traceparent.
CREATE FUNCTION crm_sync.tracing(condition text)
RETURNS text
LANGUAGE sql
STABLE
AS $sql$
    SELECT CASE
        WHEN crm_sync.has_column(crm_sync.trace_column()) THEN format(
            $template$
        BEGIN
            IF %s THEN
                NEW.%I := pg_catalog.left(pg_catalog.current_setting('crm_sync.traceparent', TRUE), 128);
            END IF;
        EXCEPTION
            -- Nothing is refused to the application because somebody has dropped the column.
            WHEN OTHERS THEN NULL;
        END;
            $template$,
            condition,
            crm_sync.trace_column()
        )
        ELSE ''
    END
$sql$;

-- The functions that make the trigger functions, as they are by now, with that line in them.
DO $traces$
DECLARE
    maker regprocedure := 'crm_sync.create_flip_function(text)'::regprocedure;
    definition text := pg_get_functiondef(maker);
    was text;
    pair text[];
BEGIN
    FOREACH pair SLICE 1 IN ARRAY ARRAY[
        -- In line.
        [
            E'        NEW.%1$s_flipped_at := pg_catalog.clock_timestamp();\n',
            E'        NEW.%1$s_flipped_at := pg_catalog.clock_timestamp();%9$s\n'
        ],
        -- In flight, and flipped again.
        [
            E'            ELSE OLD.%1$s_flipped_at\n        END;\n',
            E'            ELSE OLD.%1$s_flipped_at\n        END;%10$s\n'
        ],
        [
            E'        crm_sync.lining_up(crm_name, FALSE)      -- 8\n',
            E'        crm_sync.lining_up(crm_name, FALSE),     -- 8\n'
            '        crm_sync.tracing(''TRUE''),                -- 9\n'
            '        crm_sync.tracing(format(''NEW.%I OPERATOR(pg_catalog.=) ''''Queued''''::%s'', crm_name || ''_sync_status'', sync_type)) -- 10\n'
        ]
    ] LOOP
        was := definition;
        definition := replace(definition, pair[1], pair[2]);
        IF definition = was THEN
            RAISE EXCEPTION '% does not flip as this migration expects', maker;
        END IF;
    END LOOP;
    EXECUTE definition;

    maker := 'crm_sync.create_watch_function(text)'::regprocedure;
    definition := pg_get_functiondef(maker);
    FOREACH pair SLICE 1 IN ARRAY ARRAY[
        [
            E'    NEW.%1$s_flipped_at := pg_catalog.clock_timestamp();\n',
            E'    NEW.%1$s_flipped_at := pg_catalog.clock_timestamp();%7$s\n'
        ],
        [
            E'        crm_sync.lining_up(crm_name, FALSE)  -- 6\n',
            E'        crm_sync.lining_up(crm_name, FALSE), -- 6\n'
            '        crm_sync.tracing(''TRUE'')             -- 7\n'
        ]
    ] LOOP
        was := definition;
        definition := replace(definition, pair[1], pair[2]);
        IF definition = was THEN
            RAISE EXCEPTION '% does not flip as this migration expects', maker;
        END IF;
    END LOOP;
    EXECUTE definition;
END;
$traces$;

-- (Re)creates the functions of all triggers.
CREATE FUNCTION crm_sync.renew_flip_functions()
RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    PERFORM crm_sync.create_flip_function(l.crm) FROM crm_sync.lanes AS l WHERE l.installed ORDER BY l.id;
END;
$$;

-- Turns traces on or off. It needs the table for itself for a moment.
CREATE FUNCTION crm_sync.set_tracing(is_on boolean)
RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    contacts text := crm_sync.full_name(crm_sync.contacts());
    reader name;
BEGIN
    IF is_on THEN
        EXECUTE format('ALTER TABLE %s ADD COLUMN IF NOT EXISTS %I text', contacts, crm_sync.trace_column());
        INSERT INTO crm_sync.added (kind, name) VALUES ('column', crm_sync.trace_column()) ON CONFLICT DO NOTHING;
        -- The roles of workers have rights column by column: those that may claim may read it.
        FOR reader IN
            SELECT DISTINCT pg_get_userbyid(g.grantee)
            FROM crm_sync.lanes AS l
            JOIN pg_attribute AS a ON a.attrelid = crm_sync.contacts() AND a.attname = l.crm || '_claimed_by'
            CROSS JOIN LATERAL aclexplode(a.attacl) AS g
            WHERE g.privilege_type = 'UPDATE' AND g.grantee <> 0 AND NOT a.attisdropped
        LOOP
            EXECUTE format('GRANT SELECT (%I) ON TABLE %s TO %I', crm_sync.trace_column(), contacts, reader);
        END LOOP;
        PERFORM crm_sync.renew_flip_functions();
    ELSE
        EXECUTE format('ALTER TABLE %s DROP COLUMN IF EXISTS %I', contacts, crm_sync.trace_column());
        DELETE FROM crm_sync.added WHERE kind = 'column' AND name = crm_sync.trace_column();
        PERFORM crm_sync.renew_flip_functions();
    END IF;
END;
$$;
