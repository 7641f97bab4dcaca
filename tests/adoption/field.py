"""A realistic table: older than crm-sync, in use, and not designed for it.

Its owner is not a superuser and has a statement_timeout; the application that writes is a third role, which knows nothing about
us. HubSpot's columns are there, with enums that lack Selected and have values of the table's own.
"""

import psycopg

from crm_sync.sandbox.postgres import Server

OWNER, APPLICATION, REPORTS = "field_owner", "field_app", "field_reports"
TABLE = "crm.people"
TEMPLATE = "field_template"

_OTHER = {
    **{f"attribute_{n:02}": "varchar(60)" for n in range(1, 21)},
    **{f"amount_{n}": "numeric(12, 2) NOT NULL DEFAULT 0" for n in range(1, 7)},
    **{f"is_{n}": "boolean" for n in ("paid", "vip", "blocked", "test")},
    "locale": "char(5) DEFAULT 'en-US'",
    "tags": "text[]",
    "document": "jsonb NOT NULL DEFAULT '{}'",
    "source": "text",
    "note": "text",
    "birthday": "date",
    "last_seen_at": "timestamp",
    "created_at": "timestamptz NOT NULL DEFAULT now()",
    "updated_at": "timestamptz NOT NULL DEFAULT now()",
    "version": "integer NOT NULL DEFAULT 1",
}

SCHEMA = f"""
CREATE SCHEMA crm AUTHORIZATION {OWNER};
SET ROLE {OWNER};
-- What is made later is nobody's but the owner's, and the reports'.
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES REVOKE USAGE ON TYPES FROM PUBLIC;
ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {REPORTS};

CREATE TYPE crm.hubspot_sync_status AS ENUM
    ('New', 'Queued', 'Processing', 'Complete', 'Error', 'Skipped', 'Legacy import', 'On hold');
CREATE TYPE crm.hubspot_processing_status AS ENUM ('Queued', 'Processing', 'Complete', 'Error', 'Stale');

CREATE TABLE crm.companies (id bigint PRIMARY KEY, name text NOT NULL);
CREATE TABLE crm.people (
    id varchar(40) PRIMARY KEY,
    email varchar(320) NOT NULL,
    first_name varchar(80),
    last_name varchar(80),
    company_id bigint REFERENCES crm.companies,
    hubspot_sync_status crm.hubspot_sync_status DEFAULT 'New',
    hubspot_processing_status crm.hubspot_processing_status,
    hubspot_processing_error varchar(200),
    hubspot_contact_id varchar(64),
    {", ".join(f"{name} {definition}" for name, definition in _OTHER.items())},
    CONSTRAINT has_an_address CHECK (email LIKE '%@%')
);
CREATE TABLE crm.orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    person_id varchar(40) NOT NULL REFERENCES crm.people ON DELETE CASCADE
);
CREATE TABLE crm.audit (person_id varchar(40), operation text, at timestamptz DEFAULT clock_timestamp());
CREATE TABLE crm.control (id integer PRIMARY KEY, beats bigint NOT NULL);

CREATE FUNCTION crm.touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := clock_timestamp();
    NEW.version := OLD.version + 1;
    RETURN NEW;
END;
$$;
CREATE FUNCTION crm.keep_record() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO crm.audit (person_id, operation) VALUES (coalesce(NEW.id, OLD.id), TG_OP);
    RETURN NULL;
END;
$$;
CREATE TRIGGER people_touch BEFORE UPDATE ON crm.people FOR EACH ROW EXECUTE FUNCTION crm.touch();
CREATE TRIGGER people_audit AFTER INSERT OR UPDATE OR DELETE ON crm.people FOR EACH ROW EXECUTE FUNCTION crm.keep_record();
CREATE VIEW crm.known_people AS
    SELECT id, email, hubspot_sync_status, hubspot_contact_id FROM crm.people WHERE hubspot_contact_id IS NOT NULL;

CREATE INDEX people_email ON crm.people (lower(email));
CREATE INDEX people_company ON crm.people (company_id);
CREATE INDEX idx_people_hubspot_contact_id ON crm.people (hubspot_contact_id);
CREATE INDEX people_queued ON crm.people (created_at) WHERE hubspot_sync_status = 'Queued';
CREATE INDEX orders_person ON crm.orders (person_id);

GRANT USAGE ON SCHEMA crm TO {APPLICATION}, {REPORTS};
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA crm TO {APPLICATION};
RESET ROLE;
"""

ROWS = """
INSERT INTO crm.companies SELECT n, 'Company ' || n FROM generate_series(1, 50) AS n;
INSERT INTO crm.control SELECT n, 0 FROM generate_series(0, 63) AS n;
SET session_replication_role = replica;
INSERT INTO crm.people (
    id, email, first_name, last_name, company_id, hubspot_sync_status, hubspot_processing_status, hubspot_processing_error,
    hubspot_contact_id, attribute_01, attribute_02, attribute_03, tags, document, note
)
SELECT
    'p-' || n, 'person.' || n || '@example.com', 'Ada', 'Lovelace ' || n, n % 50 + 1,
    (ARRAY['New', 'Complete', 'Error', 'Skipped', 'Legacy import', 'On hold'])[n % 6 + 1]::crm.hubspot_sync_status,
    CASE n % 6 WHEN 1 THEN 'Complete' WHEN 2 THEN 'Error' WHEN 4 THEN 'Stale' END::crm.hubspot_processing_status,
    CASE n % 6 WHEN 2 THEN 'REJECTED: of old' END,
    CASE WHEN n % 6 IN (1, 4) THEN 'old-' || n END,
    md5(n::text), md5((n + 1)::text), 'x', ARRAY['a', 'b'], jsonb_build_object('n', n), 'as it was'
FROM generate_series(1, :rows) AS n;
RESET session_replication_role;
"""


def make_roles(server: Server) -> None:
    with psycopg.connect(server.url(), autocommit=True) as admin:
        for role in (OWNER, APPLICATION, REPORTS):
            admin.execute(f"CREATE ROLE {role} LOGIN".encode())
        # It must not break long statements.
        since_17 = ("transaction_timeout = '2s'",) if admin.info.server_version >= 170000 else ()
        for setting in (
            *since_17,
            "statement_timeout = '5s'",
            "lock_timeout = '3s'",
            "idle_in_transaction_session_timeout = '20s'",
            "idle_session_timeout = '500ms'",
            "default_transaction_isolation = 'repeatable read'",
            "search_path = 'crm'",
        ):
            admin.execute(f"ALTER ROLE {OWNER} SET {setting}".encode())


def make_database(server: Server, name: str, rows: int) -> None:
    """Its owner is the table's, as with a managed database."""
    url = server.create_database(name)
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {name} OWNER TO {OWNER}".encode())
        admin.execute(SCHEMA.encode())
        admin.execute(ROWS.replace(":rows", str(rows)).encode())
        admin.execute("VACUUM ANALYZE")


def copy_database(server: Server, name: str) -> None:
    server.create_database(name, TEMPLATE)
    with psycopg.connect(server.url(), autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {name} OWNER TO {OWNER}".encode())


def as_role(url: str, role: str) -> str:
    """The same database for another role. url: the superuser's."""
    return url.replace("//postgres@", f"//{role}@")
