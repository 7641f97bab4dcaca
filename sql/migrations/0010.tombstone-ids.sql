-- A sequence that is behind must not make the application's DELETE fail: restores and logical replication copy rows without it.
--
-- The tombstone takes the next id that none has. It runs within the deletion, so it looks up nothing by the search_path.
CREATE FUNCTION crm_sync.take_free_tombstone_id()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    WHILE EXISTS (SELECT FROM crm_sync.tombstones AS t WHERE t.id = NEW.id) LOOP
        NEW.id := nextval(pg_get_serial_sequence('crm_sync.tombstones', 'id'));
    END LOOP;
    RETURN NEW;
END;
$$;

CREATE TRIGGER take_free_id BEFORE INSERT ON crm_sync.tombstones
FOR EACH ROW EXECUTE FUNCTION crm_sync.take_free_tombstone_id();
