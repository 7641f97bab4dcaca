-- Never run, only prepared and explained: so Postgres itself says what is wrong with the expressions of a person's mapping where the
-- claim has them, and of what types they are. It has no parameters, so that it has as many as the expressions.
UPDATE :contacts
SET :claimed_by = :claimed_by
WHERE false
RETURNING
    :mapped
