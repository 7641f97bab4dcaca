-- As in 0013.
CREATE OR REPLACE FUNCTION crm_sync.line_facts(crm_name text, contact_key text, due timestamptz)
RETURNS jsonb
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    line text := crm_sync.line(crm_name);
    statement text;
    facts jsonb;
    about bigint;
BEGIN
    IF to_regclass(line) IS NULL THEN
        RETURN jsonb_build_object('has_line', FALSE);
    END IF;
    SELECT
        format(
            $look$
            SELECT jsonb_build_object(
                'has_line', EXISTS (SELECT FROM %1$s AS o WHERE o.due_at = $1 AND o.key::text = $2),
                'before', count(*) FILTER (WHERE c.waits),
                'before_is_all', count(*) <= 10000,
                'behind', (
                    SELECT count(*)
                    FROM (SELECT FROM %1$s AS o WHERE o.due_at > $1 AND o.due_at <= statement_timestamp() LIMIT 51) AS n
                )
            )
            FROM (SELECT o.due_at, o.key FROM %1$s AS o WHERE o.due_at < $1 ORDER BY o.due_at LIMIT 10001) AS l
            LEFT JOIN LATERAL (
                SELECT c.%3$I IS NULL AND c.%4$I::text = 'Queued' AS waits
                FROM %2$s AS c
                WHERE c.%5$I OPERATOR(%6$s.=) l.key AND c.%7$I = l.due_at
                LIMIT 1
            ) AS c ON TRUE
            $look$,
            line,                                            -- 1
            crm_sync.full_name(a.contacts),                  -- 2
            crm_name || '_claimed_by',                       -- 3
            crm_name || '_sync_status',                      -- 4
            a.key_column,                                    -- 5
            crm_sync.operators_of(a.contacts, a.key_column), -- 6
            crm_name || '_due_at'                            -- 7
        )
    INTO STRICT statement
    FROM crm_sync.adopted AS a;
    EXECUTE statement INTO facts USING due, contact_key;
    IF NOT (facts ->> 'before_is_all')::boolean THEN
        EXECUTE format(
            'SELECT (count(*) FILTER (WHERE o.due_at < $1) / s.share)::bigint '
            'FROM (SELECT LEAST(1, 200 * current_setting(''block_size'')::float8 / pg_relation_size(%1$L))) AS s (share) '
            'CROSS JOIN %1$s AS o TABLESAMPLE SYSTEM (100 * LEAST(1, 200 * current_setting(''block_size'')::float8 / pg_relation_size(%1$L))) '
            'GROUP BY s.share',
            line
        )
        INTO about
        USING due;
        facts := facts || jsonb_build_object('before_about', GREATEST(coalesce(about, 0), 10001));
    END IF;
    RETURN facts;
END;
$$;
