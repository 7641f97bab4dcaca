ALTER TABLE crm_sync.lanes
    DROP COLUMN account_since,
    DROP COLUMN account;
