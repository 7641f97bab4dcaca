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
from tests.harness import ALL_COMPLETE, ScriptedCrm, running, until
from tests.process import ended, environment, process
from tests.tiers import one_case_quick


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
    async with running(url, crm):
        await until(app, ALL_COMPLETE)
    assert [fields["FIRSTNAME"] for fields in crm.store.values()] == ["Zoë"]
    await app.close()
    undo(url)


@pytest.mark.parametrize(
    ("encoding", "name"),
    one_case_quick([("LATIN1", "Zoë"), ("LATIN9", "€"), ("WIN1251", "Зоя"), ("KOI8R", "Зоя"), ("EUC_JP", "木")]),
)
async def test_what_a_crm_says_is_kept_with_an_escape_for_what_the_database_cannot_store(encoded, brevo, encoding, name):
    url = encoded(encoding)
    roles.migrate(url)
    app = await asyncpg.connect(url)
    await app.execute(
        "INSERT INTO contacts (email, first_name, brevo_sync_status) VALUES ('zoe@example.com', $1, 'Queued')", name
    )
    crm = ScriptedCrm()
    crm.answer = lambda contact: Outcome.rejected("REJECTED", f"{contact.fields['FIRSTNAME'][0]} \U0001f600")
    async with running(url, crm, history="failures"):
        await until(app, "bool_and(brevo_sync_status = 'Error') FROM contacts")
    reason = f"{name[0]} <U+1F600>"
    assert await app.fetchval("SELECT brevo_processing_error FROM contacts") == f"REJECTED: {reason}"
    assert await app.fetchval("SELECT reason FROM crm_sync.history") == reason
    for command in (("why", "--email", "\U0001f600@example.com"), ("pause", "brevo", "--reason", "\U0001f600")):
        async with process(environment(url, brevo, owner=True), *command) as asked:
            _, _, err = await ended(asked)
        assert "untranslatable" not in err
    assert await app.fetchval("SELECT held_reason FROM crm_sync.lanes WHERE crm = 'brevo'") == "<U+1F600>"
    await app.close()
