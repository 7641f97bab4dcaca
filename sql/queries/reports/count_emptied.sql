-- How many contacts have a field in the CRM that crm-sync wrote, and for which their row no longer has a value: their next flip
-- empties it. As in Python, except for values that only Python considers blank. :emptied is the bits of the fields without a
-- value in a row.
SELECT count(*)
FROM :contacts
WHERE
    :sent_fields & (:emptied) <> 0
    AND :sent_to = :'numbering' || coalesce(:remote_id::text, '')
    AND (SELECT set_config('search_path', :'own_path', TRUE)) IS NOT NULL
