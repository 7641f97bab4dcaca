-- A trigger of the application that flips a contact whenever its row is written also does so when a worker writes it. Such a contact
-- was sent again at once, without end. Now it is sent less and less often, and its row says which trigger it is.
--
-- The proof is the transaction: the statements of a worker set crm_sync.writes to the name of their CRM until it ends, and a flip by
-- a trigger in it is below another one. A flip of the application ends the pause as it ends a wait for a retry, and counts anew.
--
-- Such flips leave the attempts as they are. So these are how often the contact was sent since the application flipped it.

-- The pause before a contact is sent again that was sent this many times without being flipped by the application. The first flip of
-- this kind costs nothing: it may be the only one, as where a trigger waits for the id in the CRM.
CREATE FUNCTION crm_sync.loop_pause(attempts integer)
RETURNS interval
LANGUAGE sql
IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN attempts > 1 THEN make_interval(secs => LEAST(2.0 ^ (LEAST(attempts, 20) - 2), 300)) ELSE interval '0' END
$$;

-- What the row says then.
--
-- context: the functions and statements that Postgres was in. The triggers of the table that are in it are named, or those that set a
-- status before the row is written: they are over by then.
CREATE FUNCTION crm_sync.loop_reason(crm_name text, context text)
RETURNS text
LANGUAGE sql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    WITH suspect AS (
        SELECT DISTINCT t.tgname::text AS name
        FROM pg_trigger AS t
        JOIN pg_proc AS f ON t.tgfoid = f.oid
        WHERE
            (t.tgrelid = crm_sync.contacts() OR t.tgrelid IN (SELECT p.relation FROM crm_sync.parts() AS p))
            AND NOT t.tgisinternal
            AND f.pronamespace <> 'crm_sync'::regnamespace
            AND context ~ ('(^|[ ."])' || regexp_replace(f.proname, '(\W)', '\\\1', 'g') || '"?\(\)')
    ),

    named AS (
        SELECT s.name FROM suspect AS s
        UNION ALL
        SELECT DISTINCT f.name FROM crm_sync.flipping_triggers() AS f WHERE NOT EXISTS (SELECT FROM suspect)
    )

    SELECT left(
        format(
            'TRIGGER_LOOP: %s this contact when a worker writes its row. Let it compare OLD and NEW, name the columns that it is about '
            '(UPDATE OF), or leave the worker''s role out: WHEN (current_user <> ''crm_worker'')',
            coalesce('the trigger ' || (SELECT string_agg(quote_ident(n.name), ', ' ORDER BY n.name) FROM named AS n) || ' flips', 'a trigger flips')
        ),
        (
            SELECT
                CASE WHEN a.atttypmod > 4 AND a.atttypid IN ('varchar'::regtype, 'bpchar'::regtype) THEN a.atttypmod - 4 ELSE 1000 END
            FROM pg_attribute AS a
            WHERE a.attrelid = crm_sync.contacts() AND a.attname = crm_name || '_processing_error'
        )
    )
$$;

-- The parts of a function for flips that are about this, in plpgsql.
--
-- 'variables': is_own_write: a trigger flips it, in the transaction of this CRM's worker.
--
-- 'in flight': the row says so until the claim ends (finish_contacts.sql), unless somebody has flipped it before, or does so later.
--
-- 'in line': it is sent anyway, so nothing changes, above all not its wait.
--
-- 'pause': of another contact than the one that is written, the attempts count for ten minutes. It may be flipped rarely, and by
-- nobody else.
--
-- 'reason': last, because not every column takes it.
CREATE FUNCTION crm_sync.braking(crm_name text, part text)
RETURNS text
LANGUAGE sql
IMMUTABLE
AS $sql$
    SELECT format(
        CASE part
            WHEN 'variables' THEN
                $template$
    is_own_write pg_catalog.bool := pg_catalog.pg_trigger_depth() OPERATOR(pg_catalog.>) 1
        AND pg_catalog.current_setting('crm_sync.writes', TRUE) OPERATOR(pg_catalog.=) '%1$s';
    context pg_catalog.text;$template$
            WHEN 'in flight' THEN
                $template$
            IF NEW.%1$s_sync_status::pg_catalog.text OPERATOR(pg_catalog.=) 'Queued' THEN
                IF NOT is_own_write THEN
                    IF pg_catalog.starts_with(OLD.%1$s_processing_error::pg_catalog.text, 'TRIGGER_LOOP:') THEN
                        NEW.%1$s_processing_error := NULL;
                    END IF;
                ELSIF OLD.%1$s_sync_status::pg_catalog.text OPERATOR(pg_catalog.=) 'Processing' THEN
                    GET DIAGNOSTICS context = PG_CONTEXT;
                    NEW.%1$s_processing_error := crm_sync.loop_reason('%1$s', context);
                END IF;
            END IF;$template$
            WHEN 'in line' THEN
                $template$
        IF is_own_write AND OLD.%1$s_due_at IS NOT NULL AND OLD.%1$s_claimed_by IS NULL
            AND NEW.%1$s_sync_status::pg_catalog.text OPERATOR(pg_catalog.=) 'Queued'
        THEN
            NEW.%1$s_processing_status := OLD.%1$s_processing_status;
            NEW.%1$s_processing_error := OLD.%1$s_processing_error;
            NEW.%1$s_attempts := OLD.%1$s_attempts;
            NEW.%1$s_due_at := OLD.%1$s_due_at;
            NEW.%1$s_flipped_at := pg_catalog.clock_timestamp();
            RETURN NEW;
        END IF;
$template$
            WHEN 'pause' THEN
                $template$
                IF is_own_write THEN
                    IF coalesce(
                        GREATEST(OLD.%1$s_synced_at, OLD.last_retry_at)
                        OPERATOR(pg_catalog.>) (NEW.%1$s_flipped_at OPERATOR(pg_catalog.-) '10 minutes'::pg_catalog.interval),
                        TRUE
                    ) THEN
                        NEW.%1$s_attempts := coalesce(OLD.%1$s_attempts, 0);
                    END IF;
                    NEW.%1$s_due_at := NEW.%1$s_flipped_at OPERATOR(pg_catalog.+) crm_sync.loop_pause(NEW.%1$s_attempts);
                END IF;$template$
            WHEN 'reason' THEN
                $template$
        IF is_own_write AND NEW.%1$s_attempts OPERATOR(pg_catalog.>=) 3
            AND NEW.%1$s_sync_status::pg_catalog.text OPERATOR(pg_catalog.=) 'Queued'
        THEN
            GET DIAGNOSTICS context = PG_CONTEXT;
            NEW.%1$s_processing_error := crm_sync.loop_reason('%1$s', context);
        END IF;$template$
        END,
        crm_name
    )
$sql$;

-- In the functions as they are by now, so that nothing else is repeated here.
DO $brake$
DECLARE
    maker regprocedure;
    definition text;
    was text;
    change text[];
BEGIN
    FOREACH change SLICE 1 IN ARRAY ARRAY[
        [
            'crm_sync.create_flip_function(text)',
            E'DECLARE%11$s\n    is_queued',
            E'DECLARE%11$s%14$s\n    is_queued'
        ],
        [
            'crm_sync.create_flip_function(text)',
            E'                ELSE OLD.%1$s_flipped_at\n            END;%10$s\n',
            E'                ELSE OLD.%1$s_flipped_at\n            END;%10$s%15$s\n'
        ],
        [
            'crm_sync.create_flip_function(text)',
            E'        END IF;\n%7$s\n        -- A copied row',
            E'        END IF;\n%16$s%7$s\n        -- A copied row'
        ],
        [
            'crm_sync.create_flip_function(text)',
            E'                NEW.%1$s_due_at := NEW.%1$s_flipped_at;\n%8$s\n',
            E'                NEW.%1$s_due_at := NEW.%1$s_flipped_at;%17$s\n%8$s\n'
        ],
        [
            'crm_sync.create_flip_function(text)',
            E'            NEW.next_retry_at := %6$s;\n        END IF;\n    %12$s',
            E'            NEW.next_retry_at := %6$s;\n        END IF;%18$s\n    %12$s'
        ],
        [
            'crm_sync.create_flip_function(text)',
            E'crm_sync.lining_up(crm_name, FALSE)      -- 13\n',
            E'crm_sync.lining_up(crm_name, FALSE),     -- 13\n'
            '        crm_sync.braking(crm_name, ''variables''), -- 14\n'
            '        crm_sync.braking(crm_name, ''in flight''), -- 15\n'
            '        crm_sync.braking(crm_name, ''in line''),   -- 16\n'
            '        crm_sync.braking(crm_name, ''pause''),     -- 17\n'
            '        crm_sync.braking(crm_name, ''reason'')     -- 18\n'
        ],
        [
            'crm_sync.create_watch_function(text)',
            E'DECLARE%6$s\n    is_queued',
            E'DECLARE%6$s%11$s\n    is_queued'
        ],
        -- A pause is no wait for a retry: a change of the application ends it.
        [
            'crm_sync.create_watch_function(text)',
            E'        IF OLD.%1$s_due_at IS NOT NULL THEN\n',
            E'%13$s        IF OLD.%1$s_due_at IS NOT NULL AND (\n'
            '            OLD.%1$s_claimed_by IS NOT NULL\n'
            '            OR coalesce(OLD.%1$s_processing_error::pg_catalog.text, '''') OPERATOR(pg_catalog.!~~) ''TRIGGER\\_LOOP:%%''\n'
            '        ) THEN\n'
        ],
        [
            'crm_sync.create_watch_function(text)',
            E'            NEW.next_retry_at := OLD.next_retry_at;\n            RETURN NEW;',
            E'            NEW.next_retry_at := OLD.next_retry_at;\n            IF OLD.%1$s_claimed_by IS NOT NULL THEN%12$s\n'
            '            END IF;\n            RETURN NEW;'
        ],
        [
            'crm_sync.create_watch_function(text)',
            E'        NEW.%1$s_due_at := NEW.%1$s_flipped_at;\n        is_queued := TRUE;%8$s\n',
            E'        NEW.%1$s_due_at := NEW.%1$s_flipped_at;%14$s\n        is_queued := TRUE;%8$s%15$s\n'
        ],
        [
            'crm_sync.create_watch_function(text)',
            E'crm_sync.lining_up(crm_name, FALSE)  -- 10\n',
            E'crm_sync.lining_up(crm_name, FALSE), -- 10\n'
            '        crm_sync.braking(crm_name, ''variables''), -- 11\n'
            '        crm_sync.braking(crm_name, ''in flight''), -- 12\n'
            '        crm_sync.braking(crm_name, ''in line''),   -- 13\n'
            '        crm_sync.braking(crm_name, ''pause''),     -- 14\n'
            '        crm_sync.braking(crm_name, ''reason'')     -- 15\n'
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
    PERFORM crm_sync.renew_flip_functions();
END;
$brake$;
