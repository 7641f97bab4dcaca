-- Which account of the CRM the ids in the contacts table belong to. Another account has other contacts under the same ids, so a worker
-- with the key of another one sends nothing, and deletes nothing, while rows have ids.
--
-- The worker that delivers first notes it: see crm_sync.lane.same_account. Text of the CRM's own, without personal data. account_since
-- is NULL for the first account that was noted: what history has from before it may be of the same account.
ALTER TABLE crm_sync.lanes
    ADD COLUMN account text,
    ADD COLUMN account_since timestamptz;

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
        EXECUTE format(
            'GRANT SELECT (account, account_since), UPDATE (account, account_since) ON TABLE crm_sync.lanes TO %I', worker
        );
    END LOOP;
END;
$rights$;
