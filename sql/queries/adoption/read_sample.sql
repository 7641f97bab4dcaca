-- Reads the first pages of a table, and nothing else: how long that takes is what is wanted.
SELECT count(*)
FROM :part
WHERE ctid < :'end'
