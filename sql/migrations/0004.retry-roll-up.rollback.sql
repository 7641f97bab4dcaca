ALTER TABLE contacts RESET (fillfactor);

DROP INDEX idx_contacts_next_retry_at;

ALTER TABLE contacts
    DROP COLUMN retry_count,
    DROP COLUMN last_retry_at,
    DROP COLUMN next_retry_at,
    DROP COLUMN last_failed_crm;
