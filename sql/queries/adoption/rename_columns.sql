-- Records that the columns of the adopted table were renamed.
--
-- $1  name  the column that identifies a row
-- $2  name  the column with the address
UPDATE crm_sync.adopted
SET
    key_column = $1,
    email_column = $2
