-- About how many lines of one CRM are due, and not due, estimated from a sample of 200 pages.
WITH
sample (share) AS (
    SELECT LEAST(1, 200 * current_setting('block_size')::float8 / GREATEST(1, pg_relation_size(:'line')))
),

looked_at AS (
    SELECT
        count(*) FILTER (WHERE l.due_at <= statement_timestamp()) AS due,
        count(*) FILTER (WHERE l.due_at > statement_timestamp()) AS later
    FROM :line AS l
    TABLESAMPLE SYSTEM (100 * (SELECT s.share FROM sample AS s))
)

SELECT
    (l.due / s.share)::bigint AS ready,
    (l.later / s.share)::bigint AS waiting
FROM looked_at AS l
CROSS JOIN sample AS s
