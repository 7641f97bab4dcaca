-- Which of the states that workers write are refused by a constraint, found by evaluating the constraint.
--
-- $1  text[]  the states
SELECT w.word
FROM unnest($1::text[]) AS w (word)
CROSS JOIN LATERAL (SELECT w.word:::column_type AS :column) AS c
WHERE NOT (:check)
