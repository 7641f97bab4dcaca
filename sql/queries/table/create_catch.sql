-- Creates the trigger that sees flips made by the application's own triggers at once.
SELECT crm_sync.create_catch()
