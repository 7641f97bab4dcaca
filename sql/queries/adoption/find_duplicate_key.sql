-- Whether two rows have the same key: no index says that they have not. Reads the whole table.
SELECT
FROM :contacts
GROUP BY :id
HAVING count(*) > 1
LIMIT 1
