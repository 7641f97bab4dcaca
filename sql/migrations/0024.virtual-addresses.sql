-- A deleted contact whose address is a virtual generated column (PostgreSQL 18) leaves a tombstone with its address. Such a column is
-- empty in a trigger, because Postgres computes it when it is read. So the function computes it, by the expression of the day.

DO $virtual$
DECLARE
    maker regprocedure := 'crm_sync.create_deleted_function(text)';
    definition text;
    was text;
    change text[];
BEGIN
    FOREACH change SLICE 1 IN ARRAY ARRAY[
        [
            E'    address text;\n    remote text;\n',
            E'    address text;\n    expression text;\n    remote text;\n'
        ],
        [
            E'        address := OLD.%5$I::text;\n',
            E'        address := OLD.%5$I::text;\n'
            '        IF address IS NULL THEN\n'
            '            -- A virtual generated column is empty here.\n'
            '            SELECT pg_get_expr(d.adbin, d.adrelid) INTO expression\n'
            '            FROM pg_attribute AS a\n'
            '            JOIN pg_attrdef AS d ON a.attrelid = d.adrelid AND a.attnum = d.adnum\n'
            '            WHERE a.attrelid = TG_RELID AND a.attname = %5$L AND a.attgenerated = ''v'';\n'
            '            IF FOUND THEN\n'
            '                EXECUTE format(''SELECT (%%s)::text FROM (SELECT ($1).*) AS deleted'', expression) INTO address USING OLD;\n'
            '            END IF;\n'
            '        END IF;\n'
        ]
    ] LOOP
        was := pg_get_functiondef(maker);
        CONTINUE WHEN strpos(was, change[2]) > 0; -- it came with a schema-only dump
        definition := replace(was, change[1], change[2]);
        IF definition = was THEN
            RAISE EXCEPTION '% is not as this migration expects: it lacks %', maker, change[1];
        END IF;
        EXECUTE definition;
    END LOOP;
    PERFORM crm_sync.create_deleted_function(l.crm)
    FROM crm_sync.lanes AS l
    WHERE to_regprocedure(format('crm_sync.%I()', l.crm || '_deleted')) IS NOT NULL
    ORDER BY l.id;
END;
$virtual$;
