-- Has flips that triggers of the application's own make seen at once.
SELECT crm_sync.create_catch()
