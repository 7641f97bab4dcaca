-- Never run, only prepared and explained, so that Postgres itself says what is wrong with mapping expressions in the claim, and
-- what types they have. It has no parameters of its own, so the statement has as many as the expressions.
UPDATE :contacts
SET :claimed_by = :claimed_by
WHERE false
RETURNING
    :mapped
