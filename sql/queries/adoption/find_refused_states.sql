-- Which of the states that workers write a constraint refuses: it is asked of the constraint itself.
--
-- $1  text[]  the states
SELECT w.word
FROM unnest($1::text[]) AS w (word)
CROSS JOIN LATERAL (SELECT w.word:::column_type AS :column) AS c
WHERE NOT (:check)
