DROP FUNCTION crm_sync.remove_crm(text);

DROP FUNCTION crm_sync.add_crm(text, text);

DROP FUNCTION crm_sync.create_flip_function(text);

DROP FUNCTION crm_sync.other_retries(text, text);
