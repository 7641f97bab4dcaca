-- How many contacts have a field in the CRM that crm-sync has put there, and that their row has nothing for any more: the next flip of
-- each empties it. As in Python, but for what only Python takes for blank. :emptied is the bits of the fields that a row has nothing
-- for.
SELECT count(*)
FROM :contacts
WHERE
    :sent_fields & (:emptied) <> 0
    AND (SELECT set_config('search_path', :'own_path', TRUE)) IS NOT NULL
