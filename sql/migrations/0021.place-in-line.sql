-- Where a contact stands in the line of a CRM: how many are served before it, counted as far as 1,000 lines, and beyond by a sample
-- of 200 pages; and how many lines stand behind it that are due, counted as far as 51: with fewer behind it in a backlog, it is a
-- fresh one.
--
-- As in 0013, where it looked at the rows of 10,000 lines, also where more lines stood before the contact and the sample was told
-- instead. With a table larger than the memory, that took 9 seconds. The lines are counted first, and only few rows are looked at.
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
            WITH ahead AS MATERIALIZED (
                SELECT o.due_at, o.key FROM %1$s AS o WHERE o.due_at < $1 ORDER BY o.due_at LIMIT 1001
            ),
            counted AS MATERIALIZED (SELECT count(*) AS lines, count(*) <= 1000 AS is_all FROM ahead)
            SELECT jsonb_build_object(
                'has_line', EXISTS (SELECT FROM %1$s AS o WHERE o.due_at = $1 AND o.key::text = $2),
                'before', CASE
                    WHEN n.is_all THEN (
                        SELECT count(*)
                        FROM ahead AS l
                        CROSS JOIN LATERAL (
                            SELECT
                            FROM %2$s AS c
                            WHERE
                                c.%5$I OPERATOR(%6$s.=) l.key
                                AND c.%7$I = l.due_at
                                AND c.%3$I IS NULL
                                AND c.%4$I::text = 'Queued'
                            LIMIT 1
                        ) AS c
                    )
                    ELSE n.lines
                END,
                'before_is_all', n.is_all,
                'behind', (
                    SELECT count(*)
                    FROM (SELECT FROM %1$s AS o WHERE o.due_at > $1 AND o.due_at <= statement_timestamp() LIMIT 51) AS b
                )
            )
            FROM counted AS n
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
        facts := facts || jsonb_build_object('before_about', GREATEST(coalesce(about, 0), 1001));
    END IF;
    RETURN facts;
END;
$$;
