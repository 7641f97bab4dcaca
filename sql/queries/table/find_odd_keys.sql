-- A row whose key no worker can handle, for types with such keys. These are at the ends of the key's index.
SELECT TRUE AS is_there
FROM :contacts
WHERE
    (:id < :'lowest' OR :id > :'highest')
    AND :is_finite
LIMIT 1
