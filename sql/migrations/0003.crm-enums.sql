-- The two state machines of a contact at a CRM: what is wanted, and what is happening.

CREATE TYPE crm_sync_status AS ENUM (
    'New',         -- never asked for
    'Selected',    -- marked by a person, not asked for yet
    'Queued',      -- the application wants it in the CRM: the flip
    'Processing',  -- a worker has claimed it
    'Complete',    -- delivered
    'Error',       -- rejected, or its retries are used up
    'Skipped'      -- the application does not want it there
);

CREATE TYPE crm_processing_status AS ENUM (
    'Queued',      -- in line: ready, or waiting until its due time
    'Processing',  -- in flight
    'Complete',    -- delivered
    'Error'        -- rejected, or its retries are used up
);
