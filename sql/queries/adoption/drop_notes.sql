-- Takes off a table of yoyo's notes. Not CASCADE: nothing of anyone else's goes with it.
DROP TABLE IF EXISTS crm_sync.:note_table
