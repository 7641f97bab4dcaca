-- Notes what a step adds, so that it is ours to take off again. It is sent in one message with its step, where there can be no
-- parameters: these are literals.
SELECT crm_sync.note_added(:of_crm, :kind, :names)
