-- What an application has on the contacts table, and does with it after its adoption: triggers of its own that set a status, a copy that
-- is put in its place, columns that change their type.

-- The name that it had when it was adopted. Another table that has it later is a copy that a tool for schema changes has put in its
-- place.
ALTER TABLE crm_sync.adopted
    ADD COLUMN schema_name name,
    ADD COLUMN table_name name;

UPDATE crm_sync.adopted AS a
SET
    schema_name = n.nspname,
    table_name = c.relname
FROM pg_class AS c
JOIN pg_namespace AS n ON c.relnamespace = n.oid
WHERE a.contacts = c.oid;

-- The application's own triggers that may set a status: what runs before a row is written, in whose text, or in that of a function it
-- calls, the name of a status column stands. A comment with the name will do where the text has none.
--
-- No trigger of ours sees what they set: UPDATE OF means what the statement names, and those that run before a row is written run in
-- the order of their names.
--
-- source: the text of all these functions.
CREATE FUNCTION crm_sync.flipping_triggers()
RETURNS TABLE (name text, source text)
LANGUAGE sql
STABLE
AS $$
    WITH RECURSIVE own AS (
        SELECT t.tgname, t.tgrelid, t.tgfoid
        FROM pg_trigger AS t
        JOIN pg_proc AS f ON t.tgfoid = f.oid
        WHERE
            t.tgrelid IN (SELECT crm_sync.contacts() UNION SELECT p.relation FROM crm_sync.parts() AS p)
            AND t.tgparentid = 0
            AND NOT t.tgisinternal
            AND t.tgenabled IN ('O', 'A')
            AND f.pronamespace <> 'crm_sync'::regnamespace
            -- For each row (1), before (2), INSERT (4) or UPDATE (16).
            AND t.tgtype & 3 = 3
            AND t.tgtype & 20 <> 0
    ),

    called (root, oid) AS (
        SELECT o.tgfoid, o.tgfoid
        FROM own AS o
        UNION
        SELECT c.root, f.oid
        FROM called AS c
        JOIN pg_proc AS g ON c.oid = g.oid
        JOIN pg_proc AS f ON strpos(lower(coalesce(pg_get_function_sqlbody(g.oid), g.prosrc)), lower(f.proname) || '(') > 0
        WHERE f.pronamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace, 'crm_sync'::regnamespace)
    )

    SELECT o.tgname::text, string_agg(coalesce(pg_get_function_sqlbody(f.oid), f.prosrc), E'\n')
    FROM own AS o
    JOIN called AS c ON o.tgfoid = c.root
    JOIN pg_proc AS f ON c.oid = f.oid
    GROUP BY o.tgname, o.tgrelid
    HAVING bool_or(coalesce(pg_get_function_sqlbody(f.oid), f.prosrc) LIKE '%\_sync\_status%')
$$;

-- Those of these CRMs whose status such triggers may set: the ones that they name, and all of them where a name is put together.
CREATE FUNCTION crm_sync.flipped_crms(crm_names text[])
RETURNS text[]
LANGUAGE sql
STABLE
AS $$
    SELECT array_agg(DISTINCT c.crm)
    FROM crm_sync.flipping_triggers() AS t
    JOIN unnest(crm_names) AS c (crm)
        ON
            strpos(t.source, c.crm || '_sync_status') > 0
            OR regexp_replace(t.source, '(' || array_to_string(crm_names, '|') || ')_sync_status', '', 'g') LIKE '%\_sync\_status%'
$$;

-- Those of these CRMs that the trigger crm_sync_catch looks after.
CREATE FUNCTION crm_sync.caught_crms(crm_names text[])
RETURNS text[]
LANGUAGE sql
STABLE
AS $$
    SELECT array_agg(DISTINCT c.crm)
    FROM pg_trigger AS g
    JOIN unnest(crm_names) AS c (crm) ON strpos(pg_get_triggerdef(g.oid), format('(new.%s_sync_status', c.crm)) > 0
    WHERE
        g.tgrelid = crm_sync.contacts()
        AND g.tgname = 'crm_sync_catch'
        AND g.tgenabled IN ('O', 'A')
$$;

-- (Re)creates the trigger crm_sync_catch, which sees what such triggers have set. It costs each UPDATE a few percent, so it is there only
-- where such triggers are, and only for the CRMs that they set.
--
-- It runs when the row is written, and says of each CRM where the row is not in line as it ought to be once more that it is Queued: by an
-- UPDATE that names the status, which the triggers of that CRM see. What such a trigger withdraws is not claimed, and leaves the line at
-- the next full look.
CREATE FUNCTION crm_sync.create_catch()
RETURNS void
LANGUAGE plpgsql
AS $create$
DECLARE
    contacts text := crm_sync.full_name(crm_sync.contacts());
    key_column text := (SELECT a.key_column FROM crm_sync.adopted AS a);
    key_equals text;
    crms text[] := crm_sync.flipped_crms(ARRAY(SELECT l.crm FROM crm_sync.lanes AS l WHERE l.installed));
    conditions text;
    bodies text;
BEGIN
    -- One at a time: two that replace one function at once fail.
    EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', contacts);

    -- As its indexes compare it.
    SELECT format('OPERATOR(%I.=)', n.nspname) INTO key_equals
    FROM pg_attribute AS a
    JOIN pg_type AS t ON a.atttypid = t.oid
    JOIN pg_opclass AS c ON c.opcdefault AND c.opcintype = coalesce(nullif(t.typbasetype, 0), t.oid)
    JOIN pg_am AS m ON c.opcmethod = m.oid AND m.amname = 'btree'
    JOIN pg_amop AS e
        ON c.opcfamily = e.amopfamily AND c.opcintype = e.amoplefttype AND c.opcintype = e.amoprighttype AND e.amopstrategy = 3
    JOIN pg_operator AS o ON e.amopopr = o.oid
    JOIN pg_namespace AS n ON o.oprnamespace = n.oid
    WHERE a.attrelid = crm_sync.contacts() AND a.attname = key_column;
    key_equals := coalesce(key_equals, 'OPERATOR(pg_catalog.=)');

    -- As short as can be, for it is parsed anew in every statement, and costs by its length.
    SELECT
        string_agg(format('NEW.%s_sync_status = ''Queued''', l.crm), ' OR ' ORDER BY l.id),
        string_agg(
            format(
                $template$
    IF NEW.%1$s_sync_status::pg_catalog.text OPERATOR(pg_catalog.=) 'Queued' THEN
        IF NEW.%1$s_due_at IS NULL AND NEW.%1$s_claimed_by IS NULL THEN
            -- Nobody has seen it.
            changes := pg_catalog.array_append(changes, '%1$s_sync_status = %1$s_sync_status');
        ELSIF
            NEW.%1$s_claimed_by IS NOT DISTINCT FROM OLD.%1$s_claimed_by
            AND NEW.%1$s_due_at IS NOT DISTINCT FROM OLD.%1$s_due_at
            AND NEW.%1$s_flipped_at IS NOT DISTINCT FROM OLD.%1$s_flipped_at
        THEN
            IF NEW.%1$s_claimed_by IS NOT NULL THEN
                IF OLD.%1$s_sync_status::pg_catalog.text OPERATOR(pg_catalog.<>) 'Queued' THEN
                    -- In flight.
                    changes := pg_catalog.array_append(changes, '%1$s_sync_status = %1$s_sync_status');
                END IF;
            ELSIF NEW.%1$s_attempts OPERATOR(pg_catalog.>) 0 THEN
                -- In line for a retry: it keeps its place. What was tried before had other values.
                changes := pg_catalog.array_append(changes, '%1$s_flipped_at = pg_catalog.clock_timestamp()');
            END IF;
        END IF;
    END IF;
                $template$,
                l.crm
            ),
            '' ORDER BY l.id
        )
    INTO conditions, bodies
    FROM crm_sync.lanes AS l
    WHERE l.crm = ANY (crms);

    -- It runs as its owner, for who updates need not be allowed to write a status. As in create_flip_function nothing is looked up by the
    -- search_path of whoever updates; the table is found by its oid, for it may have been renamed.
    EXECUTE format(
        $template$
CREATE OR REPLACE FUNCTION crm_sync.catch_flips()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
AS $function$
DECLARE
    changes text[] := '{}';
BEGIN
    -- Triggers that never agree what a status is.
    IF pg_catalog.pg_trigger_depth() OPERATOR(pg_catalog.>) 16 THEN
        RETURN NULL;
    END IF;
%1$s
    IF changes OPERATOR(pg_catalog.=) '{}' THEN
        RETURN NULL;
    END IF;
    -- Nothing is refused to the application for this: the full look finds it.
    BEGIN
        EXECUTE pg_catalog.format(
            'UPDATE %%s SET %%s WHERE %%I %3$s $1',
            (SELECT a.contacts FROM crm_sync.adopted AS a)::pg_catalog.text,
            pg_catalog.array_to_string(changes, ', '),
            %2$L
        ) USING NEW.%2$I;
    EXCEPTION
        WHEN OTHERS THEN
            RAISE WARNING 'crm-sync has not seen a flip that a trigger made (SQLSTATE %%), and will find it later', SQLSTATE;
    END;
    RETURN NULL;
END;
$function$
        $template$,
        bodies,
        key_column,
        key_equals
    );
    REVOKE ALL ON FUNCTION crm_sync.catch_flips() FROM PUBLIC;
    EXECUTE format(
        'CREATE OR REPLACE TRIGGER crm_sync_catch AFTER INSERT OR UPDATE ON %s FOR EACH ROW WHEN (%s) '
        'EXECUTE FUNCTION crm_sync.catch_flips()',
        contacts, conditions
    );
END;
$create$;

-- Where it was before a CRM was taken off, for those that are left.
CREATE FUNCTION crm_sync.renew_catch()
RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    IF crm_sync.flipped_crms(ARRAY(SELECT l.crm FROM crm_sync.lanes AS l WHERE l.installed)) IS NOT NULL THEN
        PERFORM crm_sync.create_catch();
    END IF;
END;
$$;

-- What crm_sync_catch lacks, or is there for nothing. It comes after the CRMs, whose columns it names.
CREATE FUNCTION crm_sync.catch_steps(crm_names text[])
RETURNS SETOF crm_sync.step
LANGUAGE plpgsql
STABLE
AS $$
DECLARE
    wanted text[] := crm_sync.flipped_crms(crm_names);
BEGIN
    IF wanted IS NULL THEN
        RETURN QUERY SELECT * FROM crm_sync.uncatch_steps();
    ELSIF
        NOT EXISTS (SELECT FROM pg_trigger AS g WHERE g.tgrelid = crm_sync.contacts() AND g.tgname = 'crm_sync_catch')
        OR (
            crm_sync.caught_crms(crm_names) IS DISTINCT FROM wanted
            -- Somebody has disabled it.
            AND crm_sync.caught_crms(crm_names) IS NOT NULL
        )
        -- The key was renamed.
        OR NOT EXISTS (
            SELECT
            FROM pg_proc AS f
            JOIN crm_sync.adopted AS a ON strpos(f.prosrc, format('USING NEW.%I;', a.key_column)) > 0
            WHERE f.oid = to_regprocedure('crm_sync.catch_flips()')
        )
    THEN
        RETURN NEXT crm_sync.step(NULL, 'trigger', 'SHARE ROW EXCLUSIVE', 'SELECT crm_sync.create_catch()');
    END IF;
END;
$$;

CREATE FUNCTION crm_sync.uncatch_steps()
RETURNS SETOF crm_sync.step
LANGUAGE sql
STABLE
AS $$
    SELECT (crm_sync.step(
        NULL, 'trigger', 'ACCESS EXCLUSIVE', format('DROP TRIGGER crm_sync_catch ON %s', crm_sync.full_name(g.tgrelid))
    )).*
    FROM pg_trigger AS g
    WHERE g.tgrelid = crm_sync.contacts() AND g.tgname = 'crm_sync_catch'
    UNION ALL
    SELECT (crm_sync.step(NULL, 'function', 'none', 'DROP FUNCTION crm_sync.catch_flips()')).*
    WHERE to_regprocedure('crm_sync.catch_flips()') IS NOT NULL
$$;

-- Functions of CRMs that name a type which a status column has no more: with them every flip would fail.
CREATE FUNCTION crm_sync.retyping_steps(crm_names text[])
RETURNS SETOF crm_sync.step
LANGUAGE sql
STABLE
AS $$
    SELECT (crm_sync.step(c.crm, 'function', 'none', format('SELECT crm_sync.create_flip_function(%L)', c.crm))).*
    FROM unnest(crm_names) AS c (crm)
    JOIN pg_proc AS f ON f.pronamespace = 'crm_sync'::regnamespace AND f.proname = c.crm || '_flip'
    WHERE
        2 = (
            SELECT count(*)
            FROM pg_attribute AS a
            WHERE
                a.attrelid = crm_sync.contacts()
                AND a.attname IN (c.crm || '_sync_status', c.crm || '_processing_status')
                AND NOT a.attisdropped
        )
        AND EXISTS (
            SELECT
            FROM pg_attribute AS a
            JOIN pg_type AS t ON a.atttypid = t.oid
            JOIN pg_namespace AS n ON t.typnamespace = n.oid
            WHERE
                a.attrelid = crm_sync.contacts()
                AND a.attname IN (c.crm || '_sync_status', c.crm || '_processing_status')
                AND NOT a.attisdropped
                AND strpos(f.prosrc, format('%I := ''Queued''::%I.%I;', a.attname, n.nspname, t.typname)) = 0
        )
$$;

-- What still hangs on a table that was adopted before, and whose place another one has taken: what is watched, what becomes of deleted
-- contacts, and the triggers.
CREATE FUNCTION crm_sync.moving_steps()
RETURNS SETOF crm_sync.step
LANGUAGE plpgsql
STABLE
AS $$
BEGIN
    RETURN QUERY
    WITH former AS (
        SELECT g.oid, g.tgname, g.tgrelid, g.tgattr, left(f.proname, -length('_watch')) AS crm, f.proname LIKE '%\_watch' AS is_watch
        FROM pg_trigger AS g
        JOIN pg_proc AS f ON g.tgfoid = f.oid
        WHERE
            f.pronamespace = 'crm_sync'::regnamespace
            AND g.tgname LIKE 'crm\_sync\_%'
            AND g.tgparentid = 0
            AND g.tgrelid NOT IN (SELECT crm_sync.contacts() UNION SELECT p.relation FROM crm_sync.parts() AS p)
    )

    SELECT (crm_sync.step(
        f.crm, 'trigger', 'SHARE ROW EXCLUSIVE',
        format(
            'SELECT crm_sync.watch(%L, %L)',
            f.crm,
            (
                SELECT array_agg(a.attname ORDER BY k.place)
                FROM unnest(f.tgattr::smallint[]) WITH ORDINALITY AS k (attnum, place)
                JOIN pg_attribute AS a ON f.tgrelid = a.attrelid AND k.attnum = a.attnum
            )
        )
    )).*
    FROM former AS f
    WHERE f.is_watch
    UNION ALL
    SELECT (crm_sync.step(NULL, 'trigger', 'none', format('DROP TRIGGER %I ON %s', f.tgname, crm_sync.full_name(f.tgrelid)))).*
    FROM former AS f;

    RETURN QUERY
    SELECT (crm_sync.step(
        l.crm, 'trigger', 'SHARE ROW EXCLUSIVE', format('SELECT crm_sync.set_on_delete(%L, %L)', l.crm, l.on_delete)
    )).*
    FROM crm_sync.lanes AS l
    WHERE
        l.installed
        AND l.on_delete <> 'keep'
        AND NOT EXISTS (
            SELECT FROM pg_trigger AS g WHERE g.tgrelid = crm_sync.contacts() AND g.tgname = format('crm_sync_%s_deleted', l.crm)
        );
END;
$$;

-- As before for each CRM, and around it what is said above.
ALTER FUNCTION crm_sync.missing_steps(text[], boolean) RENAME TO missing_lane_steps;

CREATE FUNCTION crm_sync.missing_steps(crm_names text[], online boolean)
RETURNS SETOF crm_sync.step
LANGUAGE plpgsql
STABLE
AS $$
BEGIN
    RETURN QUERY SELECT * FROM crm_sync.retyping_steps(crm_names);
    RETURN QUERY SELECT * FROM crm_sync.missing_lane_steps(crm_names, online);
    RETURN QUERY SELECT * FROM crm_sync.moving_steps();
    RETURN QUERY SELECT * FROM crm_sync.catch_steps(crm_names);
END;
$$;

ALTER FUNCTION crm_sync.undo_steps(text[], boolean, boolean) RENAME TO undo_lane_steps;

CREATE FUNCTION crm_sync.undo_steps(crm_names text[], whole boolean, online boolean)
RETURNS SETOF crm_sync.step
LANGUAGE plpgsql
STABLE
AS $$
BEGIN
    -- It names columns of all CRMs.
    RETURN QUERY SELECT * FROM crm_sync.uncatch_steps();
    RETURN QUERY SELECT * FROM crm_sync.undo_lane_steps(crm_names, whole, online);
    IF NOT whole AND EXISTS (SELECT FROM crm_sync.uncatch_steps()) THEN
        RETURN NEXT crm_sync.step(NULL, 'trigger', 'SHARE ROW EXCLUSIVE', 'SELECT crm_sync.renew_catch()');
    END IF;
END;
$$;
