"""`crm-sync trace`, run by the owner of the table, and its effect on table and triggers: none while it is off."""

import asyncio

import pytest

from crm_sync.adoption import migrations
from crm_sync.configuration import load
from crm_sync.core.traceparent import COLUMN
from crm_sync.postgres.pool import Database
from crm_sync.table.schema import read_schema
from tests.adoption.older import adopt_before
from tests.adoption.steps import adopt, adopt_only, complete, undo
from tests.adoption.steps import delivering as adopted_delivering
from tests.adoption.steps import until as until_table
from tests.adoption.test_partitions import HASH, LIST
from tests.commands.test_pause import done, run
from tests.harness import ALL_COMPLETE, ScriptedCrm, running, until
from tests.process import ended, environment, process
from tests.roles import WORKER, as_worker, printed
from tests.steps import insert
from tests.telling.test_traces import PARENT, flip

FUNCTIONS = (
    "SELECT p.proname, p.prosrc FROM pg_proc AS p WHERE p.pronamespace = 'crm_sync'::regnamespace "
    "AND p.prorettype = 'trigger'::regtype ORDER BY 1"
)
HAS_COLUMN = f"SELECT crm_sync.has_column('{COLUMN}')"


async def test_it_is_turned_on_and_off_and_says_what_is_set(app, url):
    assert done(url, "trace") == "off\n"
    said = done(url, "trace", "on")
    assert f"flips fill {COLUMN} of public.contacts" in said
    assert "Reload the workers" in said
    assert done(url, "trace") == "on\n"
    assert await app.fetchval(HAS_COLUMN)
    assert "Traces are on" in done(url, "trace", "on")
    assert done(url, "trace", "off") == "Traces are off.\n"
    assert not await app.fetchval(HAS_COLUMN)
    assert done(url, "trace", "off") == "Traces were off already.\n"


def test_another_word_is_refused(url):
    assert run(url, "trace", "sometimes").exit_code == 2


async def test_a_worker_may_not_set_it(url):
    async with process(environment(url), "trace", "on") as running_:
        code, _, err = await ended(running_)
    assert code == 78
    assert "only the owner of the contacts table" in err


async def test_where_it_is_off_the_functions_of_the_triggers_are_letter_by_letter_what_they_were(app, url):
    await app.execute("SELECT crm_sync.watch('brevo', '{email}')")
    before = await app.fetch(FUNCTIONS)
    assert not any("trace" in row["prosrc"] for row in before)
    done(url, "trace", "on")
    on = {row["proname"]: row["prosrc"] for row in await app.fetch(FUNCTIONS)}
    assert {name for name, text in on.items() if "trace" in text} == {
        *("brevo_flip", "brevo_watch", "hubspot_flip", "mautic_flip", "n8n_flip")
    }
    done(url, "trace", "off")
    assert await app.fetch(FUNCTIONS) == before


async def test_a_worker_reads_it_with_the_rights_that_it_has_and_grants_prints_them(app, url):
    async with Database(as_worker(url), size=1) as database:
        assert not (await read_schema(database)).table.traced
        done(url, "trace", "on")
        assert (await read_schema(database)).table.traced
    assert COLUMN in (await asyncio.to_thread(printed, url, WORKER))[0]


async def test_one_that_may_not_read_it_delivers_all_the_same(app, url):
    done(url, "trace", "on")
    await app.execute(f"REVOKE SELECT ({COLUMN}) ON contacts FROM {WORKER}")
    async with running(url, ScriptedCrm()):
        await flip(app, "ada@example.com")
        await until(app, ALL_COMPLETE)


@pytest.mark.parametrize("state", ["on", "off"])
async def test_it_is_turned_on_and_off_while_a_worker_delivers(app, url, state):
    if state == "off":
        done(url, "trace", "on")
    crm = ScriptedCrm()
    async with running(url, crm):
        await insert(app, "Queued", "ada@example.com")
        await until(app, ALL_COMPLETE)
        await asyncio.to_thread(done, url, "trace", state)
        await flip(app, "eve@example.com")
        await until(app, ALL_COMPLETE)
    assert len(crm.requests) == 2


async def test_a_flip_is_taken_although_somebody_has_dropped_the_column(app, url):
    done(url, "trace", "on")
    await app.execute(f"ALTER TABLE contacts DROP COLUMN {COLUMN}")
    async with running(url, ScriptedCrm()):
        await flip(app, "ada@example.com")
        await app.execute("UPDATE contacts SET brevo_sync_status = 'Queued'")
        await until(app, ALL_COMPLETE)


async def test_a_text_of_any_length_is_cut_and_refuses_nothing(app, url):
    done(url, "trace", "on")
    await flip(app, "ada@example.com", "x" * 100_000)
    assert await app.fetchval(f"SELECT length({COLUMN}) FROM contacts") == 128


@pytest.mark.parametrize("setup", [HASH, LIST], ids=["by hash", "by list"])
@pytest.mark.slow
async def test_partitioned_tables_have_it_too_and_lose_it_with_the_adoption(owner, empty_url, photograph, setup):
    await owner.execute(setup)
    before = photograph()
    await adopt(empty_url, "people", key="id")
    await owner.execute("SELECT crm_sync.set_tracing(TRUE)")
    region = ", region" if "region" in setup else ""
    async with adopted_delivering(empty_url), owner.transaction():
        await owner.execute(f"SET LOCAL crm_sync.traceparent = '{PARENT}'")
        value = ", 'eu'" if region else ""
        await owner.execute(f"INSERT INTO people (id, email{region}, brevo_sync_status) VALUES (1, 'ada@x.org'{value}, 'Queued')")
    async with adopted_delivering(empty_url):
        await until_table(owner, "people", complete())
    assert await owner.fetchval(f"SELECT {COLUMN} FROM people") == PARENT
    await undo(empty_url)
    assert photograph() == before


async def test_a_crm_that_is_adopted_later_has_it(owner, empty_url):
    await owner.execute("CREATE TABLE people (id bigint PRIMARY KEY, email text)")
    await adopt(empty_url, "people", crms=("brevo",))
    await owner.execute("SELECT crm_sync.set_tracing(TRUE)")
    await adopt(empty_url, "people", crms=("mautic",))
    async with owner.transaction():
        await owner.execute(f"SET LOCAL crm_sync.traceparent = '{PARENT}'")
        await owner.execute("INSERT INTO people (id, email, mautic_sync_status) VALUES (1, 'ada@x.org', 'Queued')")
    assert await owner.fetchval(f"SELECT {COLUMN} FROM people") == PARENT


def test_its_settings_are_read_as_all_others(monkeypatch, url):
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPONT", "https://collector.example.com")
    [unknown] = load().names_without_effect()
    assert unknown.nearest == "OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.mark.parametrize("is_on", [False, True])
async def test_its_migration_is_taken_back_whatever_is_set(owner, empty_url, photograph, is_on):
    await asyncio.to_thread(adopt_before, empty_url, "0015.traces")
    before = photograph()
    await adopt_only(empty_url)
    await owner.execute("SELECT crm_sync.set_tracing($1)", is_on)
    for name in reversed([name for name in migrations.names() if name >= "0015.traces"]):
        await owner.execute(migrations.statements(f"{name}.rollback"))
    assert photograph() == before
