"""A database in SQL_ASCII, which accepts any bytes as text: crm-sync can be put on it, and invalid UTF-8 only affects its row.

And one in LATIN1.
"""

import os

import asyncpg
import psycopg
import pytest

from crm_sync.adoption.adopt import undo
from crm_sync.core.outcome import Outcome
from tests import roles
from tests.harness import ScriptedCrm, running, until


@pytest.fixture
def encoded(server):
    """Creates a database with an encoding."""
    names = []

    def make(encoding):
        names.append(f"crm_sync_{encoding.lower()}_{os.getpid()}")
        with psycopg.connect(server.url(), autocommit=True) as owner:
            owner.execute(f"CREATE DATABASE {names[-1]} ENCODING '{encoding}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
        return server.url(names[-1])

    yield make
    for name in names:
        server.drop_database(name)


async def test_crm_sync_is_put_on_it_and_a_byte_that_is_no_utf8_is_its_rows(encoded):
    ascii_url = encoded("SQL_ASCII")
    roles.migrate(ascii_url)
    app = await asyncpg.connect(ascii_url)
    await app.execute(
        "INSERT INTO contacts (email, first_name, brevo_sync_status) "
        "SELECT n || '@example.com', 'Zoë', 'Queued' FROM generate_series(1, 20) AS n"
    )
    await app.execute(r"UPDATE contacts SET first_name = E'Zo\xeb' WHERE email = '7@example.com'")
    crm = ScriptedCrm()
    async with running(ascii_url, crm):
        await until(app, "bool_and(brevo_sync_status IN ('Complete', 'Error')) FROM contacts")
    assert {fields["FIRSTNAME"] for fields in crm.store.values()} == {"Zoë"}
    failed = await app.fetch("SELECT email, brevo_processing_error FROM contacts WHERE brevo_sync_status = 'Error'")
    assert [row["email"] for row in failed] == ["7@example.com"]
    assert failed[0]["brevo_processing_error"].startswith("MAPPING_FAILED: FIRSTNAME: character not in repertoire; ")
    await app.close()
    undo(ascii_url)


async def test_from_one_in_latin1_accents_arrive(encoded):
    url = encoded("LATIN1")
    roles.migrate(url)
    app = await asyncpg.connect(url)
    await app.execute("INSERT INTO contacts (email, first_name, brevo_sync_status) VALUES ('zoe@example.com', 'Zoë', 'Queued')")
    crm = ScriptedCrm()
    crm.answer = lambda _: Outcome.rejected("REJECTED", "ï 木")
    async with running(url, crm):
        await until(app, "bool_and(brevo_sync_status = 'Error') FROM contacts")
    assert [fields["FIRSTNAME"] for fields in crm.store.values()] == ["Zoë"]
    await app.close()
    undo(url)
