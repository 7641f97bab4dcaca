-- Drops one of yoyo's tables. Not CASCADE, so that no object of another owner is dropped with it.
DROP TABLE IF EXISTS crm_sync.:note_table
