-- A row whose key no worker can name, of the types where there are such keys. They stand at the ends of the key's index.
SELECT TRUE AS is_there
FROM :contacts
WHERE
    (:id < :'lowest' OR :id > :'highest')
    AND :is_finite
LIMIT 1
