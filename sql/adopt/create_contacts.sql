-- The base table, for databases without one. HubSpot's three columns are older, as in existing deployments: they have their own
-- enum type. It is created where the role creates its tables, by its own search_path, so functions are schema-qualified.

DO $$
BEGIN
    IF pg_catalog.to_regtype('hubspot_sync_status') IS NULL THEN
        CREATE TYPE hubspot_sync_status AS ENUM ('New', 'Selected', 'Queued', 'Processing', 'Complete', 'Error', 'Skipped');
    END IF;
    IF pg_catalog.to_regtype('hubspot_processing_status') IS NULL THEN
        CREATE TYPE hubspot_processing_status AS ENUM ('Queued', 'Processing', 'Complete', 'Error');
    END IF;
END;
$$;

CREATE TABLE contacts (
    id uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
    email varchar,
    first_name varchar,
    last_name varchar,
    phone varchar,
    company varchar,
    job_title varchar,
    website varchar,
    address varchar,
    city varchar,
    state varchar,
    zip varchar,
    country varchar,
    created_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    updated_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    hubspot_sync_status hubspot_sync_status NOT NULL DEFAULT 'New',
    hubspot_processing_status hubspot_processing_status,
    hubspot_processing_error text
);
