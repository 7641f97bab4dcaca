"""A flip in a transaction that is to be prepared: it rings no bell, because that cannot be prepared, and the tick finds it."""

import asyncio

import asyncpg
import pytest

from crm_sync.core.waits import Waits
from crm_sync.postgres import locks
from tests.harness import ALL_COMPLETE, ScriptedCrm, running, until, until_asleep
from tests.roles import migrate
from tests.servers import running_server
from tests.steps import insert, write
from tests.tiers import slow

QUICK_TICK = Waits(tick_s=0.1)


@pytest.fixture
async def heard(app, other_app):
    """Notifications from now on, while the bell of Brevo's lane is armed only by this."""
    told = []
    lane = await app.fetchval("SELECT id FROM crm_sync.lanes WHERE crm = 'brevo'")
    await other_app.execute(f"SELECT pg_advisory_lock({locks.BELL}, {lane})")
    await other_app.add_listener("crm_sync", lambda *notification: told.append(notification[3]))

    async def all_of_it():
        # Notifications come in commit order, and before the answer to a statement.
        await app.execute("SELECT pg_notify('crm_sync', 'end')")
        while "end" not in told:
            await other_app.execute("SELECT 1")
        return told[: told.index("end")]

    return all_of_it


@pytest.mark.parametrize(("said", "rings"), [(None, True), ("on", True), ("off", False)])
async def test_a_flip_rings_unless_its_session_says_that_it_does_not(app, heard, said, rings):
    contact = await insert(app)
    if said is not None:
        await app.execute(f"SET crm_sync.ring = {said}")
    await write(app, contact, sync_status="Queued")
    assert await heard() == (["brevo"] if rings else [])


@pytest.mark.parametrize(("said", "rings"), [("on", True), ("off", False)])
async def test_so_does_a_watch_and_an_insert(app, heard, said, rings):
    contact = await insert(app)
    await app.execute("SELECT crm_sync.watch('brevo', '{first_name}')")
    await app.execute("SET session_replication_role = replica")
    await write(app, contact, sync_status="Complete", processing_status="Complete")
    await app.execute(f"RESET session_replication_role; SET crm_sync.ring = {said}")
    await app.execute("UPDATE contacts SET first_name = 'Grace'")
    await insert(app, "Queued", "bob@example.com")
    assert await heard() == (["brevo", "brevo"] if rings else [])


async def test_the_url_of_an_application_or_its_role_may_say_so(app, url, heard):
    quiet = await asyncpg.connect(url, server_settings={"options": "-c crm_sync.ring=off"})
    await insert(quiet, "Queued")
    await quiet.close()
    assert await heard() == []


async def test_nothing_of_the_path_of_whoever_flips_is_asked(app, heard):
    await app.execute("""
        CREATE SCHEMA impostors;
        CREATE FUNCTION impostors.no(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT FALSE';
        CREATE OPERATOR impostors.<> (FUNCTION = impostors.no, LEFTARG = text, RIGHTARG = text);
    """)
    await app.execute("SET search_path = impostors, pg_catalog, public")
    await insert(app, "Queued")
    assert await heard() == ["brevo"]


async def test_the_tick_finds_what_rang_no_bell(app, url):
    crm = ScriptedCrm()
    async with running(url, crm, waits=QUICK_TICK):
        await until_asleep(app)
        await app.execute("SET crm_sync.ring = off")
        await insert(app, "Queued")
        await until(app, ALL_COMPLETE)


@slow
async def test_a_flip_can_be_prepared_while_the_worker_sleeps():
    with running_server(max_prepared_transactions="5") as server:
        url = server.create_database("contacts")
        await asyncio.to_thread(migrate, url)
        crm = ScriptedCrm()
        app = await asyncpg.connect(url)
        async with running(url, crm, waits=QUICK_TICK):
            await until_asleep(app)
            await app.execute("BEGIN; INSERT INTO contacts (email, brevo_sync_status) VALUES ('a@example.com', 'Queued')")
            with pytest.raises(asyncpg.PostgresError, match="LISTEN, UNLISTEN, or NOTIFY"):
                await app.execute("PREPARE TRANSACTION 'one'")
            await app.execute("ROLLBACK")
            await until_asleep(app)
            await app.execute("BEGIN; SET LOCAL crm_sync.ring = off")
            await app.execute("INSERT INTO contacts (email, brevo_sync_status) VALUES ('a@example.com', 'Queued')")
            await app.execute("PREPARE TRANSACTION 'two'; ")
            await app.execute("INSERT INTO contacts (email, brevo_sync_status) VALUES ('b@example.com', 'Queued')")
            await until(app, ALL_COMPLETE)  # one that is never ended keeps no other waiting
            await app.execute("COMMIT PREPARED 'two'")
            await until(app, f"count(*) = 2 AND {ALL_COMPLETE}")
        await app.close()
