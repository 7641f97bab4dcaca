-- As before: contacts that such a trigger flips are sent at once. The changes are those of the migration, backwards.
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
        definition := replace(was, change[3], change[2]);
        IF definition = was THEN
            RAISE EXCEPTION '% is not as this rollback expects: it lacks %', maker, change[3];
        END IF;
        EXECUTE definition;
    END LOOP;
    PERFORM crm_sync.renew_flip_functions();
END;
$brake$;

DROP FUNCTION crm_sync.braking(text, text);

DROP FUNCTION crm_sync.loop_reason(text, text);

DROP FUNCTION crm_sync.loop_pause(integer);
