DROP FUNCTION crm_sync.note_added(text, text, text[]);

DROP FUNCTION crm_sync.remove_crm(text);

DROP FUNCTION crm_sync.add_crm(text, text);

DROP FUNCTION crm_sync.drop_contacts();

DROP FUNCTION crm_sync.dropping_steps(text, boolean);

DROP FUNCTION crm_sync.undo_steps(text[], boolean, boolean);

DROP FUNCTION crm_sync.set_installed(text, boolean);

DROP FUNCTION crm_sync.missing_steps(text[], boolean);

DROP FUNCTION crm_sync.index_steps(text, text, text, boolean);

DROP FUNCTION crm_sync.find_index(regclass, text, text);

DROP FUNCTION crm_sync.index_name(regclass, text);

DROP FUNCTION crm_sync.columns_of(text);

DROP FUNCTION crm_sync.remote_id_column(text);

DROP FUNCTION crm_sync.parts();

DROP FUNCTION crm_sync.step(text, text, text, text, text[], bigint);

DROP TYPE crm_sync.step;
