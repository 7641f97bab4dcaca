-- Records what a step adds, so that undo may remove it. It is sent in one message with its step, which cannot have parameters, so
-- these are literals.
SELECT crm_sync.note_added(:of_crm, :kind, :names)
