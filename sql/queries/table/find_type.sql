-- Of what type an expression of a person's mapping is, where the driver has no object for it. No row is read, and nothing computed.
SELECT
    pg_typeof((
        SELECT :mapped
        FROM :contacts
        WHERE false
    ))::oid
