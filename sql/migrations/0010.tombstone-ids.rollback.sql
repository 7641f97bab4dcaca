DROP TRIGGER take_free_id ON crm_sync.tombstones;

DROP FUNCTION crm_sync.take_free_tombstone_id();
