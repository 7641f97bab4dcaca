-- Not CASCADE: nothing of anybody else's goes with it.
DROP SCHEMA crm_sync
