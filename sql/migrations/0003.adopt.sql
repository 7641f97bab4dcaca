-- What is put on the contacts table, and taken off again, as steps: each a statement that is short or holds up no writer, so that
-- they can be run one by one on a live table, broken off anywhere and begun again. `crm-sync adopt` does that; add_crm and
-- remove_crm run the same steps in one transaction.
--
CREATE TYPE crm_sync.step AS (
    crm text,        -- NULL: what all CRMs share
    kind text,       -- of thing that it is about
    lock text,       -- on the table
    statement text,
    names text[],    -- what is added, for crm_sync.added
    reads bigint     -- bytes of the table: how long it takes
);

CREATE FUNCTION crm_sync.step(
    crm text, kind text, lock text, statement text, names text[] DEFAULT '{}', reads bigint DEFAULT 0
)
RETURNS crm_sync.step
LANGUAGE sql
IMMUTABLE
AS $$
    SELECT ROW(crm, kind, lock, statement, names, reads)::crm_sync.step
$$;

-- The tables that rows really are in: the contacts table, and its partitions where it has any.
CREATE FUNCTION crm_sync.parts()
RETURNS TABLE (relation regclass, parent regclass, is_leaf boolean, level integer)
LANGUAGE sql
STABLE
AS $$
    SELECT relid, parentrelid, isleaf, level
    FROM pg_partition_tree(crm_sync.contacts())
    UNION ALL
    SELECT oid::regclass, NULL, TRUE, 0
    FROM pg_class
    WHERE oid = crm_sync.contacts() AND relkind = 'r' AND NOT relispartition
$$;

CREATE FUNCTION crm_sync.remote_id_column(crm_name text)
RETURNS text
LANGUAGE sql
STABLE
AS $$
    SELECT coalesce(
        (SELECT l.remote_id_column FROM crm_sync.lanes AS l WHERE l.crm = crm_name),
        -- What n8n gives a contact is named after what it is there.
        CASE crm_name WHEN 'n8n' THEN 'n8n_workflow_id' ELSE crm_name || '_contact_id' END
    )
$$;

-- The columns of one CRM. Constant defaults: no rewrite of the table.
CREATE FUNCTION crm_sync.columns_of(crm_name text)
RETURNS TABLE (name text, definition text)
LANGUAGE sql
STABLE
AS $$
    SELECT w.name, format(w.definition, n.nspname)
    FROM (
        VALUES
        (crm_name || '_sync_status', '%I.crm_sync_status NOT NULL DEFAULT ''New'''),  -- what is wanted
        (crm_name || '_processing_status', '%I.crm_processing_status'),               -- what is happening
        (crm_name || '_processing_error', 'text'),                                    -- CODE: plain reason
        (crm_sync.remote_id_column(crm_name), 'varchar'),                             -- the id in the CRM
        (crm_name || '_attempts', 'integer NOT NULL DEFAULT 0'),                      -- claims since the last flip
        (crm_name || '_due_at', 'timestamptz'),                                       -- when it may be claimed; the order of service
        (crm_name || '_claimed_by', 'bigint'),                                        -- the claim that has it in flight: worker << 32 | number
        (crm_name || '_synced_at', 'timestamptz'),                                    -- last success
        (crm_name || '_flipped_at', 'timestamptz')                                    -- last flip: names it, over all its retries
    ) AS w (name, definition)
    JOIN pg_class AS c ON c.oid = crm_sync.contacts()
    JOIN pg_namespace AS n ON c.relnamespace = n.oid
$$;

-- Distinct for every relation and column, and never longer than a name may be.
CREATE FUNCTION crm_sync.index_name(relation regclass, column_name text)
RETURNS text
LANGUAGE sql
STABLE
AS $$
    SELECT CASE
        WHEN octet_length(c.relname || column_name) <= 58 THEN format('idx_%s_%s', c.relname, column_name)
        ELSE format('idx_%s_%s', left(md5(c.relname), 8), left(column_name, 50))
    END
    FROM pg_class AS c
    WHERE c.oid = relation
$$;

-- The index of a relation that is ours by its name, or does the same: the table may have been renamed since, or have had one.
--
-- keys: what is indexed, an expression over column_name.
CREATE FUNCTION crm_sync.find_index(relation regclass, column_name text, keys text)
RETURNS regclass
LANGUAGE sql
STABLE
AS $$
    SELECT i.indexrelid
    FROM pg_index AS i
    JOIN pg_class AS c ON i.indexrelid = c.oid
    JOIN pg_am AS m ON c.relam = m.oid
    LEFT JOIN pg_attribute AS a ON i.indrelid = a.attrelid AND a.attname = column_name
    WHERE
        i.indrelid = relation
        AND (
            c.relname = crm_sync.index_name(relation, column_name)
            OR (
                m.amname = 'btree'
                AND i.indnatts = 1
                -- That of a partitioned table is not valid before all partitions have theirs.
                AND (i.indisvalid OR c.relkind = 'I')
                AND i.indkey[0] = CASE WHEN keys = quote_ident(column_name) THEN a.attnum ELSE 0 END
                AND pg_get_expr(i.indpred, i.indrelid) = format('(%I IS NOT NULL)', column_name)
            )
        )
    ORDER BY c.relname = crm_sync.index_name(relation, column_name) DESC, c.relname
    LIMIT 1
$$;

-- One index. It is built beside the writers. That is not possible on a partitioned table, so it gets an empty one, which those of its
-- partitions are attached to; partitions of later get theirs by themselves.
--
-- keys: what is indexed, an expression over column_name.
CREATE FUNCTION crm_sync.index_steps(crm_name text, column_name text, keys text, online boolean)
RETURNS SETOF crm_sync.step
LANGUAGE plpgsql
STABLE
AS $$
DECLARE
    beside text := CASE WHEN online THEN 'CONCURRENTLY ' ELSE '' END;
    root regclass := crm_sync.find_index(crm_sync.contacts(), column_name, keys);
    part record;
    found_index regclass;
    index_name text;
    is_valid boolean;
    attachments text[] := '{}';
BEGIN
    FOR part IN
        SELECT p.*, n.nspname AS home
        FROM crm_sync.parts() AS p
        JOIN pg_class AS c ON p.relation = c.oid
        JOIN pg_namespace AS n ON c.relnamespace = n.oid
        -- One that is attached already is whole, whatever its name.
        WHERE p.level = 0 OR NOT EXISTS (
            SELECT FROM pg_partition_tree(root) AS t JOIN pg_index AS i ON t.relid = i.indexrelid WHERE i.indrelid = p.relation
        )
        ORDER BY p.level, c.relname
    LOOP
        found_index := crm_sync.find_index(part.relation, column_name, keys);
        index_name := coalesce(
            (SELECT c.relname FROM pg_class AS c WHERE c.oid = found_index), crm_sync.index_name(part.relation, column_name)
        );
        is_valid := (SELECT i.indisvalid FROM pg_index AS i WHERE i.indexrelid = found_index);

        IF part.is_leaf AND NOT is_valid THEN
            -- An earlier run was broken off.
            RETURN NEXT crm_sync.step(
                crm_name, 'repair', 'SHARE UPDATE EXCLUSIVE', format('DROP INDEX %s%I.%I', beside, part.home, index_name)
            );
        END IF;
        IF part.is_leaf AND is_valid IS NOT TRUE THEN
            RETURN NEXT crm_sync.step(
                crm_name, 'index', CASE WHEN online THEN 'SHARE UPDATE EXCLUSIVE' ELSE 'SHARE' END,
                format(
                    'CREATE INDEX %s%I ON %s (%s) WHERE %I IS NOT NULL',
                    beside, index_name, crm_sync.full_name(part.relation), keys, column_name
                ),
                ARRAY[index_name],
                -- Beside the writers the table is read twice.
                pg_relation_size(part.relation) * CASE WHEN online THEN 2 ELSE 1 END
            );
        ELSIF NOT part.is_leaf AND is_valid IS NULL THEN
            RETURN NEXT crm_sync.step(
                crm_name, 'index', 'SHARE',
                format(
                    'CREATE INDEX %I ON ONLY %s (%s) WHERE %I IS NOT NULL',
                    index_name, crm_sync.full_name(part.relation), keys, column_name
                ),
                ARRAY[index_name]
            );
        END IF;
        IF part.level > 0 THEN
            -- The deepest first.
            attachments := format(
                'ALTER INDEX %s ATTACH PARTITION %I.%I',
                coalesce(
                    crm_sync.full_name(crm_sync.find_index(part.parent, column_name, keys)),
                    (
                        SELECT format('%I.%I', n.nspname, crm_sync.index_name(part.parent, column_name))
                        FROM pg_class AS c
                        JOIN pg_namespace AS n ON c.relnamespace = n.oid
                        WHERE c.oid = part.parent
                    )
                ),
                part.home, index_name
            ) || attachments;
        END IF;
    END LOOP;
    RETURN QUERY SELECT (crm_sync.step(crm_name, 'attachment', 'ACCESS SHARE', a)).* FROM unnest(attachments) AS a;
END;
$$;

-- All that these CRMs, whose lanes are entered, still lack on the contacts table, in the order in which it can be added.
--
-- online: for a live table, one by one; else for one transaction.
CREATE FUNCTION crm_sync.missing_steps(crm_names text[], online boolean)
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

-- Workers know of a CRM from the moment that it is installed, and the flips of the others name its retries until it is no longer.
CREATE FUNCTION crm_sync.set_installed(crm_name text, is_installed boolean)
RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    UPDATE crm_sync.lanes SET installed = is_installed WHERE crm = crm_name;
    PERFORM crm_sync.create_flip_function(l.crm) FROM crm_sync.lanes AS l WHERE l.installed ORDER BY l.id;
END;
$$;

-- What of these CRMs is on the contacts table, in the order in which it can be taken off, and nothing that was there before.
--
-- whole: with what all CRMs share. A table that crm-sync has made itself is dropped then, but only if it is empty.
CREATE FUNCTION crm_sync.undo_steps(crm_names text[], whole boolean, online boolean)
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

-- The indexes, columns and options that were added for one CRM, or for all of them where it is NULL.
CREATE FUNCTION crm_sync.dropping_steps(crm_name text, online boolean)
RETURNS SETOF crm_sync.step
LANGUAGE sql
STABLE
AS $$
    -- Those of a partitioned table go with it, and cannot go beside the writers.
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
    FROM crm_sync.added AS a
    JOIN pg_class AS c ON a.name = c.relname
    JOIN pg_index AS i ON c.oid = i.indexrelid
    JOIN crm_sync.parts() AS p ON i.indrelid = p.relation
    WHERE
        a.kind = 'index'
        AND a.crm IS NOT DISTINCT FROM crm_name
        AND NOT EXISTS (SELECT FROM pg_inherits AS h WHERE h.inhrelid = c.oid)
    UNION ALL
    SELECT (crm_sync.step(
        crm_name,
        'column',
        'ACCESS EXCLUSIVE',
        format('ALTER TABLE %s %s', crm_sync.full_name(crm_sync.contacts()), string_agg(format('DROP COLUMN %I', a.name), ', '))
    )).*
    FROM crm_sync.added AS a
    WHERE a.kind = 'column' AND a.crm IS NOT DISTINCT FROM crm_name AND crm_sync.has_column(a.name)
    HAVING count(*) > 0
    UNION ALL
    SELECT (crm_sync.step(
        crm_name,
        'fillfactor',
        'SHARE UPDATE EXCLUSIVE',
        format('ALTER TABLE %s RESET (fillfactor)', crm_sync.full_name(p.relation))
    )).*
    FROM crm_sync.added AS a
    JOIN pg_class AS c ON a.name = c.relname
    JOIN crm_sync.parts() AS p ON c.oid = p.relation
    WHERE
        a.kind = 'fillfactor'
        AND a.crm IS NOT DISTINCT FROM crm_name
        AND EXISTS (SELECT FROM unnest(c.reloptions) AS o WHERE o LIKE 'fillfactor=%')
$$;

-- Drops the table that crm-sync has made, with its types. Raises if somebody has written to it since it was looked at.
CREATE FUNCTION crm_sync.drop_contacts()
RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    contacts text := crm_sync.full_name(crm_sync.contacts());
    has_rows boolean;
    type_name text;
    own_types text[];
BEGIN
    EXECUTE format('LOCK TABLE %s', contacts);
    EXECUTE format('SELECT EXISTS (SELECT FROM %s)', contacts) INTO has_rows;
    -- One whose rows are hidden from its owner looks as empty.
    IF has_rows OR row_security_active(crm_sync.contacts()) THEN
        RAISE EXCEPTION 'the table % has rows now, so it is not dropped', contacts USING ERRCODE = 'object_in_use';
    END IF;
    SELECT array_agg(DISTINCT format('%I.%I', n.nspname, t.typname)) INTO own_types
    FROM pg_attribute AS a
    JOIN pg_type AS t ON a.atttypid = t.oid
    JOIN pg_namespace AS n ON t.typnamespace = n.oid
    WHERE a.attrelid = crm_sync.contacts() AND a.attnum > 0 AND NOT a.attisdropped AND t.typname LIKE 'hubspot\_%';
    EXECUTE format('DROP TABLE %s', contacts);
    FOREACH type_name IN ARRAY coalesce(own_types, '{}') LOOP
        EXECUTE format('DROP TYPE %s', type_name);
    END LOOP;
END;
$$;

-- Installs a CRM on the contacts table in one transaction, which holds up whoever writes until it ends: `crm-sync adopt --crm` does
-- the same on a large table beside the writers. Columns that are there already are kept as they are, with their own enum types.
-- Contacts that are Queued already get in line.
CREATE FUNCTION crm_sync.add_crm(crm_name text, remote_id_column text DEFAULT NULL)
RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    step record;
BEGIN
    INSERT INTO crm_sync.lanes (crm, remote_id_column)
    VALUES (crm_name, coalesce(remote_id_column, crm_sync.remote_id_column(crm_name)));

    FOR step IN SELECT * FROM crm_sync.missing_steps(ARRAY[crm_name], FALSE) LOOP
        EXECUTE step.statement;
        PERFORM crm_sync.note_added(step.crm, step.kind, step.names);
    END LOOP;

    EXECUTE format(
        'UPDATE %3$s SET %1$I = %1$I WHERE %1$I = ''Queued'' AND %2$I IS NULL',
        crm_name || '_sync_status', crm_name || '_due_at', crm_sync.full_name(crm_sync.contacts())
    );
END;
$$;

-- Takes a CRM off the contacts table again in one transaction: drops what was added, and keeps the columns that were there before.
CREATE FUNCTION crm_sync.remove_crm(crm_name text)
RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    step record;
BEGIN
    PERFORM FROM crm_sync.lanes WHERE crm = crm_name;
    IF NOT FOUND THEN
        RAISE EXCEPTION '% is not installed on the table %', crm_name, crm_sync.contacts() USING ERRCODE = 'undefined_object';
    END IF;

    FOR step IN SELECT * FROM crm_sync.undo_steps(ARRAY[crm_name], FALSE, FALSE) LOOP
        EXECUTE step.statement;
    END LOOP;
    DELETE FROM crm_sync.added WHERE crm = crm_name;
END;
$$;

-- Notes down what a step has added, or is about to.
CREATE FUNCTION crm_sync.note_added(crm_name text, step_kind text, step_names text[])
RETURNS void
LANGUAGE sql
AS $$
    INSERT INTO crm_sync.added (kind, name, crm)
    SELECT step_kind, n, crm_name
    FROM unnest(step_names) AS n
    WHERE step_kind IN ('type', 'column', 'index', 'fillfactor')
    ON CONFLICT DO NOTHING
$$;
