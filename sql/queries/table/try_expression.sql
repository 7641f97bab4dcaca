-- Never run, only prepared: so Postgres itself says what is wrong with an expression of a person's mapping, and of what type it is.
SELECT (:expression)
FROM :contacts
