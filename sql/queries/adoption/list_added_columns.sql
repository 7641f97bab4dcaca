-- Columns of the contacts table that crm-sync has added. All others were there before, and stay.
SELECT name
FROM crm_sync.added
WHERE kind = 'column'
