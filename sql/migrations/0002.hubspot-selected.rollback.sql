-- Postgres cannot drop a value from an enum, so the type is made anew. This rewrites the table.
-- Selected becomes New, the state before it.

ALTER TYPE hubspot_sync_status RENAME TO hubspot_sync_status_with_selected;

CREATE TYPE hubspot_sync_status AS ENUM ('New', 'Queued', 'Processing', 'Complete', 'Error', 'Skipped');

ALTER TABLE contacts
    ALTER COLUMN hubspot_sync_status DROP DEFAULT,
    ALTER COLUMN hubspot_sync_status TYPE hubspot_sync_status
        USING (
            CASE hubspot_sync_status
                WHEN 'Selected' THEN 'New'
                ELSE hubspot_sync_status::text
            END::hubspot_sync_status
        ),
    ALTER COLUMN hubspot_sync_status SET DEFAULT 'New';

DROP TYPE hubspot_sync_status_with_selected;
