-- Deletions that no CRM knows of yet are lost with their tombstones.

DO $$
BEGIN
    PERFORM crm_sync.set_on_delete(crm, 'keep') FROM crm_sync.lanes;
END;
$$;

DROP TRIGGER forget_deletions ON crm_sync.lanes;

DROP FUNCTION crm_sync.forget_deletions();

DROP FUNCTION crm_sync.set_on_delete(text, text);

DROP TABLE crm_sync.tombstones;

ALTER TABLE crm_sync.lanes DROP COLUMN on_delete;
