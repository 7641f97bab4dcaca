-- As before, for the tables whose fillfactor adoption has set, too.

DO $room$
DECLARE
    steps regprocedure := 'crm_sync.missing_lane_steps(text[], boolean)';
    definition text;
    was text;
    change text[];
    relation text;
BEGIN
    FOR relation IN
        SELECT crm_sync.full_name(p.relation)
        FROM crm_sync.parts() AS p
        JOIN pg_class AS c ON p.relation = c.oid
        JOIN crm_sync.added AS a ON a.kind = 'fillfactor' AND c.relname = a.name
        WHERE EXISTS (SELECT FROM unnest(c.reloptions) AS o WHERE o ~ '^fillfactor=[34][0-9]$')
    LOOP
        EXECUTE format('ALTER TABLE %s SET (fillfactor = 50)', relation);
    END LOOP;
    FOREACH change SLICE 1 IN ARRAY ARRAY[
        [
            E'    -- Room in each page, so that a claim stays in it: a heap-only update, which touches no index. A backfill is claimed in the order of\n'
            '    -- the table, some hundred contacts at a time, so that for a moment each row of a page is there twice. That is no waste: with less room, rows\n'
            '    -- move until there is as much, and the table ends up larger. Somebody''s own choice is kept; an older version left less.\n',
            E'    -- Room in each page, so that a claim stays in it: a heap-only update, which touches no index. A backfill is claimed in the order of\n'
            '    -- the table, some hundred contacts at a time, so that for a moment each row of a page is there twice, and longer than it was\n'
            '    -- inserted. That is no waste: with less room, rows move until there is as much, and the table ends up as large. A row takes about 72\n'
            '    -- bytes beside what the application stores, and 68 more with a first delivery. Without statistics: 100 bytes.\n'
            '    -- Somebody''s own choice is kept; an older version left less.\n'
        ],
        [
            E'        format(''ALTER TABLE %s SET (fillfactor = 50)'', crm_sync.full_name(p.relation)), ARRAY[c.relname::text]\n'
            '    )).*\n'
            '    FROM crm_sync.parts() AS p\n'
            '    JOIN pg_class AS c ON p.relation = c.oid\n'
            '    WHERE\n',
            E'        format(\n'
            '            ''ALTER TABLE %s SET (fillfactor = %s)'',\n'
            '            crm_sync.full_name(p.relation), least(49, floor(100 * (stored.bytes + 72) / (2 * (stored.bytes + 140))))\n'
            '        ),\n'
            '        ARRAY[c.relname::text]\n'
            '    )).*\n'
            '    FROM crm_sync.parts() AS p\n'
            '    JOIN pg_class AS c ON p.relation = c.oid\n'
            '    CROSS JOIN LATERAL (\n'
            '        SELECT coalesce(sum(s.avg_width * (1 - s.null_frac)), 100) AS bytes\n'
            '        FROM pg_stats AS s\n'
            '        WHERE\n'
            '            s.schemaname = c.relnamespace::regnamespace::name\n'
            '            AND s.tablename = c.relname\n'
            '            AND NOT s.inherited\n'
            '            AND s.attname NOT IN (SELECT a.name FROM crm_sync.added AS a WHERE a.kind = ''column'')\n'
            '    ) AS stored\n'
            '    WHERE\n'
        ],
        [
            E'                    o = ''fillfactor=80''\n',
            E'                    o IN (''fillfactor=80'', ''fillfactor=50'')\n'
        ]
    ] LOOP
        was := pg_get_functiondef(steps);
        definition := replace(was, change[2], change[1]);
        IF definition = was THEN
            RAISE EXCEPTION '% is not as this rollback expects: it lacks %', steps, change[2];
        END IF;
        EXECUTE definition;
    END LOOP;
END;
$room$;
