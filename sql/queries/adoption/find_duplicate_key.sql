-- Whether two rows have the same key, if no index rules that out. Reads the whole table.
SELECT
FROM :contacts
GROUP BY :id
HAVING count(*) > 1
LIMIT 1
