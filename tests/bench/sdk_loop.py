"""A plain loop over a vendor's official SDK, the first script one would write: read the table, call, write the row.

python -m tests.bench.sdk_loop hubspot CRM_URL DATABASE_URL     prints the contacts it made a second

It uses a separate table without triggers, and commits each row asynchronously, as crm-sync does.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg.rows import dict_row

from crm_sync.sandbox.credentials import BREVO_KEY, HUBSPOT_TOKEN
from tests.bench.peers.telling import limit_lifetime

WARM_UP = 5
TABLE = """
    CREATE TABLE people (
        id uuid PRIMARY KEY, email text, first_name text, last_name text, phone text, company text, city text,
        status text NOT NULL DEFAULT 'Queued', crm_id text
    )
"""
PEOPLE = """
    INSERT INTO people (id, email, first_name, last_name, phone, company, city)
    SELECT gen_random_uuid(), 'person.' || n || '@example.com', 'Ada', 'Lovelace', '+3363998' || lpad(n::text, 6, '0'),
        'Analytical Engines', 'London'
    FROM generate_series(1, %s) AS n
"""

Row = dict[str, Any]


def hubspot(url: str) -> Callable[[Row], str]:
    from hubspot.crm.contacts import ApiClient, BasicApi, Configuration, SimplePublicObjectInputForCreate  # noqa: PLC0415 (only the one measured)

    configuration = Configuration()
    configuration.host = url
    configuration.access_token = HUBSPOT_TOKEN
    api = BasicApi(ApiClient(configuration))

    def create(row: Row) -> str:
        properties = {
            "email": row["email"],
            "firstname": row["first_name"],
            "lastname": row["last_name"],
            "phone": row["phone"],
            "company": row["company"],
            "city": row["city"],
        }
        return str(api.create(SimplePublicObjectInputForCreate(properties=properties, associations=[])).id)

    return create


def brevo(url: str) -> Callable[[Row], str]:
    from brevo import Brevo  # noqa: PLC0415 (only the one measured)

    client = Brevo(api_key=BREVO_KEY, base_url=f"{url}/v3")

    def create(row: Row) -> str:
        attributes = {"FIRSTNAME": row["first_name"], "LASTNAME": row["last_name"], "SMS": row["phone"]}
        made = client.contacts.create_contact(email=row["email"], attributes=attributes, update_enabled=True)
        assert made is not None
        return str(made.id)

    return create


def main() -> None:
    limit_lifetime()
    crm, url, database_url, contacts = *sys.argv[1:4], int(sys.argv[4])
    create = {"hubspot": hubspot, "brevo": brevo}[crm](url)
    with psycopg.connect(database_url, autocommit=True, row_factory=dict_row) as connection:
        connection.execute("SET synchronous_commit = off")
        connection.execute(TABLE)
        connection.execute(PEOPLE, (WARM_UP + contacts,))
        rows = connection.execute("SELECT * FROM people WHERE status = 'Queued'").fetchall()
        started = time.perf_counter()
        for number, row in enumerate(rows):
            if number == WARM_UP:
                started = time.perf_counter()
            made = create(row)
            connection.execute("UPDATE people SET status = 'Complete', crm_id = %s WHERE id = %s", (made, row["id"]))
    print(contacts / (time.perf_counter() - started))


if __name__ == "__main__":
    main()
