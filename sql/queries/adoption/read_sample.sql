-- Reads the first pages of a table, only to measure how long that takes.
SELECT count(*)
FROM :part
WHERE ctid < :'end'
