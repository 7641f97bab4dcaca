-- Columns of the contacts table that crm-sync added. All others existed before, and stay.
SELECT name
FROM crm_sync.added
WHERE kind = 'column'
