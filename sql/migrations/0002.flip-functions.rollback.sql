DROP FUNCTION crm_sync.create_flip_function(text);

DROP FUNCTION crm_sync.other_retries(text, text);
