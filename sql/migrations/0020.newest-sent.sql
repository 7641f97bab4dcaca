-- The newest flip that was sent in a lane, for a worker that starts: what was flipped earlier may have been overtaken by it.
--
-- Contacts are claimed by flips, but fresh flips go before a backlog, and a row that the application has locked is passed over. A
-- worker knows what it has claimed itself. What those before it have sent, only the database can tell it. Written before outcomes
-- are, and a little ahead of them, so that it is written rarely.
ALTER TABLE crm_sync.lanes ADD COLUMN newest_sent timestamptz;

-- Nobody noted what was sent until now.
UPDATE crm_sync.lanes SET newest_sent = clock_timestamp() WHERE installed;

-- The roles of workers have rights column by column: those that may write what workers share of a lane may write this, too.
DO $rights$
DECLARE
    worker name;
BEGIN
    FOR worker IN
        SELECT DISTINCT pg_get_userbyid(g.grantee)
        FROM pg_attribute AS a
        CROSS JOIN LATERAL aclexplode(a.attacl) AS g
        WHERE
            a.attrelid = 'crm_sync.lanes'::regclass
            AND a.attname = 'breaker'
            AND g.privilege_type = 'UPDATE'
            AND g.grantee <> 0
            AND NOT a.attisdropped
    LOOP
        EXECUTE format('GRANT SELECT (newest_sent), UPDATE (newest_sent) ON TABLE crm_sync.lanes TO %I', worker);
    END LOOP;
END;
$rights$;
