-- Why a contact is, or is not, in each CRM: a word, and the facts. For one in flight they include why the table refuses to have its
-- row written, as a living worker has reported: then its outcome cannot be written either.
--
-- $1  text  its key
SELECT
    w.crm,
    w.verdict,
    CASE
        WHEN w.verdict = 'in flight'
            THEN
                w.facts || jsonb_build_object(
                    'refused',
                    (
                        SELECT p.refused ->> crm_sync.key_name(w.facts ->> 'key')
                        FROM crm_sync.progress AS p
                        JOIN crm_sync.living_workers AS l ON p.worker = l.id
                        WHERE p.crm = w.crm AND p.refused ? crm_sync.key_name(w.facts ->> 'key')
                        LIMIT 1
                    )
                )
        ELSE w.facts
    END::text AS facts
FROM crm_sync.why($1::text) AS w
