"""However many contacts there are, a request ends in a moment, and reports what is left."""

import itertools
from contextlib import asynccontextmanager

from crm_sync.api.changing import RETRIED, Changing
from crm_sync.api.requests import RetryRequest
from crm_sync.api.service import Service
from crm_sync.configuration import Configuration
from crm_sync.environment import Environment
from crm_sync.errors import TooSlowError
from crm_sync.postgres.pool import Database
from crm_sync.postgres.visiting import ReadOnly, Visiting
from crm_sync.reports.table_notes import address_notes
from crm_sync.settings import Settings
from crm_sync.table.address_index import MANY
from crm_sync.table.schema import read_schema
from crm_sync.telling.deeds import API, Doer
from tests.steps import insert

FAILED = """
    INSERT INTO contacts (email, first_name, brevo_sync_status, brevo_processing_status, brevo_processing_error)
    SELECT n || '@example.com', 'Ada', 'Error', 'Error', 'REJECTED: no'
    FROM generate_series(1, $1::integer) AS n
"""
BY = Doer("ada", API)


@asynccontextmanager
async def opened(url, kind=ReadOnly):
    """A service, and its two pools."""
    captured = Environment({"database_url": url})
    configuration = Configuration(captured.read(Settings), captured)
    async with kind(url, size=2) as reading, Visiting(url, size=2) as writing:
        yield Service(configuration, reading, writing), reading, writing


async def test_a_retry_of_very_many_ends_in_time_and_the_same_request_goes_on(app, url):
    """With a clock that advances by a second whenever it is read."""
    many = 2 * RETRIED.keys + 100
    await app.execute("SET session_replication_role = replica")
    await app.execute(FAILED, many)
    async with opened(url) as (service, reading, writing):
        changing = Changing(
            service.tables, service.lanes, service.contacts, references=service.references, reading=reading, writing=writing,
            longest_s=2.0, clock=itertools.count().__next__,
        )  # fmt: skip
        told = []
        while not told or told[-1].more:
            told.append(await changing.retry(RetryRequest(crm="brevo", dry_run=False), BY))
    assert [one.flipped for one in told] == [RETRIED.keys, RETRIED.keys, 100]
    assert [one.more for one in told] == [True, True, False]
    assert await app.fetchval("SELECT count(*) FROM contacts WHERE brevo_sync_status = 'Queued'") == many
    assert await app.fetchval("SELECT count(*) FROM crm_sync.events WHERE event = 'contacts_retried'") == 3


class Slow(ReadOnly):
    """For a table that is too large to be searched for an address."""

    async def fetch_within(self, *_arguments):
        raise TooSlowError("canceling statement due to statement timeout")


async def test_what_cannot_be_looked_for_by_address_is_looked_for_by_all_else(app, url):
    await app.execute("DROP INDEX IF EXISTS idx_contacts_email")
    contact = await insert(app, "New")
    await app.execute("SET session_replication_role = replica")
    await app.execute("UPDATE contacts SET brevo_contact_id = 'id@crm' WHERE id = $1", contact)
    async with opened(url, Slow) as (service, _, _):
        found = await service.contacts.find("id@crm")
        assert (found.keys, found.by) == ([str(contact)], "id in brevo")
        found = await service.contacts.find("nobody@example.com")
        assert found.keys == []
        assert "an address" not in found.looked_for
        assert "CREATE INDEX CONCURRENTLY ON public.contacts (lower(" in found.note


async def test_check_tells_of_an_index_that_is_missing_where_there_are_many(app, url):
    await app.execute("DROP INDEX IF EXISTS idx_contacts_email")
    async with Database(url, size=1) as database:
        table = (await read_schema(database)).table
        assert await address_notes(database, table) == []
        await app.execute("UPDATE pg_class SET reltuples = $1 WHERE relname = 'contacts'", float(MANY))
        [note] = await address_notes(database, table)
        assert 'CREATE INDEX CONCURRENTLY ON public.contacts (lower("email"))' in note
        await app.execute("CREATE INDEX ON contacts (lower(email))")
        await app.execute("UPDATE pg_class SET reltuples = $1 WHERE relname = 'contacts'", float(MANY))
        assert await address_notes(database, table) == []
