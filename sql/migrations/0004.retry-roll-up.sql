-- A roll-up over the CRMs for people and reports. The truth is per CRM.

ALTER TABLE contacts
    ADD COLUMN IF NOT EXISTS retry_count integer NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS last_retry_at timestamptz,
    ADD COLUMN IF NOT EXISTS next_retry_at timestamptz,
    ADD COLUMN IF NOT EXISTS last_failed_crm varchar;

-- For reports: what is retried next. A claim changes no column of it.
CREATE INDEX IF NOT EXISTS idx_contacts_next_retry_at ON contacts (next_retry_at) WHERE next_retry_at IS NOT NULL;

-- Room in each page, so that a claim stays in it: a heap-only update, which touches no index.
ALTER TABLE contacts SET (fillfactor = 80);
