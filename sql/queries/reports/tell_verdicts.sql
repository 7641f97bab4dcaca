-- Why a contact is, or is not, in each CRM: a word, and the facts.
--
-- $1  text  its key
SELECT
    w.crm,
    w.verdict,
    w.facts::text AS facts
FROM crm_sync.why($1::text) AS w
