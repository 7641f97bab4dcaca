DROP FUNCTION crm_sync.undo_steps(text[], boolean, boolean);

ALTER FUNCTION crm_sync.undo_lane_steps(text[], boolean, boolean) RENAME TO undo_steps;

DROP FUNCTION crm_sync.missing_steps(text[], boolean);

ALTER FUNCTION crm_sync.missing_lane_steps(text[], boolean) RENAME TO missing_steps;

DROP FUNCTION crm_sync.moving_steps();

DROP FUNCTION crm_sync.retyping_steps(text[]);

DROP FUNCTION crm_sync.catch_steps(text[]);

DROP FUNCTION crm_sync.uncatch_steps();

DROP FUNCTION crm_sync.renew_catch();

DROP FUNCTION crm_sync.create_catch();

DROP FUNCTION crm_sync.caught_crms(text[]);

DROP FUNCTION crm_sync.flipped_crms(text[]);

DROP FUNCTION crm_sync.flipping_triggers();

ALTER TABLE crm_sync.adopted
    DROP COLUMN schema_name,
    DROP COLUMN table_name;
