-- When a contact last failed with each code, by CRM: one row a code, whether that contact still has it or not.
SELECT
    c.crm,
    c.code,
    c.seen_at
FROM crm_sync.alert_codes AS c
