-- Contacts that crm-sync has flipped once more get back the time of the application's flip. In the transaction that flipped them.
--
-- Of rows with one address, the one that the application flipped last is sent last. One that is sent once more must not count as
-- flipped after another whose flip was not committed yet, and so not seen. With its former time it is late, so once it is delivered,
-- the contact flipped last is looked for again (flip_overwritten.sql).
--
-- A microsecond is added, because this is another flip: what knows the former one finds the row changed.
--
-- $1  id[]    the contacts
-- $2  text[]  when each was flipped before
UPDATE :contacts AS c
SET :flipped_at = LEAST(f.flipped_at + interval '1 microsecond', c.:flipped_at)
FROM unnest($1:::sent_keys, $2::text[]::timestamptz[]) AS f (id, flipped_at)
WHERE c.:id :is f.id
