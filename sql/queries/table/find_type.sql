-- The type of a mapping expression for which the driver has no object. No row is read, and nothing is computed.
SELECT
    pg_typeof((
        SELECT :mapped
        FROM :contacts
        WHERE false
    ))::oid
