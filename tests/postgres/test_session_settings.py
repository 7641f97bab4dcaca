"""What a database sets for its applications does not affect crm-sync, wherever it connects."""

import asyncio

import asyncpg
import pytest

from crm_sync.adoption import migrations
from crm_sync.postgres import session_settings as settings
from crm_sync.postgres.pool import Database, connect
from crm_sync.reports.session_report import pooler_notes
from tests.harness import ALL_COMPLETE, ScriptedCrm, running, until
from tests.process import ended, environment, process
from tests.roles import WORKER, as_worker, migrate
from tests.steps import insert
from tests.tiers import slow

# Each with a value other than the default, and one that would do harm.
HOSTILE = {
    "default_transaction_isolation": "serializable",
    "standard_conforming_strings": "off",
    "quote_all_identifiers": "on",
    "row_security": "off",
    "lock_timeout": "1ms",
    "exit_on_error": "on",
    "DateStyle": "German",
    "IntervalStyle": "sql_standard",
    "TimeZone": "Asia/Tokyo",
    "extra_float_digits": "-15",
    "bytea_output": "escape",
    "lc_monetary": "C.UTF-8",
    "statement_timeout": "1ms",
    "idle_session_timeout": "20ms",
    "idle_in_transaction_session_timeout": "1ms",
    "search_path": "elsewhere",
    "plan_cache_mode": "force_custom_plan",
    "synchronous_commit": "remote_apply",
}
SINCE_17 = {"transaction_timeout": "30ms"}
# psycopg sets its own only once it is connected.
TO_BE_REACHED = {"statement_timeout": "1s", "idle_session_timeout": "1s", "transaction_timeout": "2s"}


async def make_hostile(app: asyncpg.Connection, url: str, **but: str) -> None:
    for name, value in {**HOSTILE, **SINCE_17, **but}.items():
        if name in SINCE_17 and app.get_server_version().major < 17:
            continue
        await app.execute(f"ALTER DATABASE {url.rpartition('/')[2]} SET {name} = '{value}'")


def test_all_settings_that_can_do_harm_are_pinned_and_each_is_tried_with_a_hostile_value():
    unpinned = {"lc_monetary", "search_path", "plan_cache_mode", "synchronous_commit"}  # by this list; some are elsewhere
    assert settings.PINNED.keys() == HOSTILE.keys() - unpinned
    assert settings.SINCE_17.keys() == SINCE_17.keys()


async def shown(connection, names):
    return {name: await connection.fetchval(f"SHOW {name}") for name in names}


@pytest.fixture
def since_17(app):
    return settings.SINCE_17 if app.get_server_version().major >= 17 else {}


async def test_the_pool_a_connection_and_the_session_of_a_worker_have_their_own(app, url, since_17):
    await make_hostile(app, url)
    pinned = {**settings.PINNED, **since_17, "search_path": "pg_catalog, pg_temp"}
    styled = {"DateStyle": "ISO, MDY"}
    async with Database(as_worker(url), size=1, timeout_s=20) as database, database.connection() as connection:
        of_pool = {"statement_timeout": "18s", "idle_in_transaction_session_timeout": "1min"}
        assert await shown(connection, pinned) == {**pinned, **styled, **of_pool}
    for of_session in ({}, settings.OF_SESSION):
        connection = await connect(as_worker(url), {**settings.PINNED, **of_session})
        assert await shown(connection, pinned) == {**pinned, **styled}
        await connection.close()


async def test_a_money_has_as_many_digits_as_its_database_says(app, url):
    """A yen has no hundredths, and the value alone does not show that."""
    await make_hostile(app, url)
    async with Database(as_worker(url), size=1) as database:
        assert await database.value("SHOW lc_monetary") == HOSTILE["lc_monetary"]


async def test_migrations_and_adoptions_have_their_own(app, url, since_17):
    await make_hostile(app, url, **TO_BE_REACHED)
    pinned = {**settings.PINNED, **since_17, "search_path": "pg_catalog, pg_temp"}

    def look():
        with migrations.connect(url) as connection:
            return {name: connection.execute(f"SHOW {name}".encode()).fetchone()[0] for name in pinned}

    assert await asyncio.to_thread(look) == {**pinned, "DateStyle": "ISO, DMY"}


@slow
async def test_in_a_database_where_everything_is_hostile_it_is_adopted_checked_delivered_and_undone(owner, empty_url, brevo):
    await owner.execute("CREATE TABLE public.contacts (id int PRIMARY KEY, email text, first_name text, balance numeric)")
    # The setting for an unqualified name does no harm.
    await make_hostile(owner, empty_url, **TO_BE_REACHED, search_path="public")
    await asyncio.to_thread(migrate, empty_url)
    crm = ScriptedCrm()
    async with running(empty_url, crm, contacts_table="contacts"):
        await owner.execute(
            "INSERT INTO contacts VALUES (1, 'a@example.com', 'Ada'); UPDATE contacts SET brevo_sync_status = 'Queued'"
        )
        await until(owner, ALL_COMPLETE)
    assert [request[0].fields["FIRSTNAME"] for request in crm.requests] == ["Ada"]
    for command in (("check",), ("status",), ("failed",), ("retry", "--yes"), ("migrate", "--check"), ("adopt", "--plan")):
        async with process(environment(empty_url, brevo, owner=True), *command) as asked:
            code, out, err = await ended(asked)
        assert code == 0, (command, out, err)
        assert "Traceback" not in err
    async with process(environment(empty_url, owner=True), "adopt", "--undo", "--yes") as undoing:
        assert (await ended(undoing))[0] == 0


OF_KEYS = {
    "date": {"DateStyle"},
    "timestamptz": {"DateStyle", "TimeZone"},
    "interval": {"IntervalStyle"},
    "float8": {"extra_float_digits"},
    "bytea": {"bytea_output"},
    "tstzrange": {"DateStyle", "TimeZone"},
    "public.later": {"DateStyle"},
    "public.lengths": {"extra_float_digits"},
    "time": set(),
    "bigint": set(),
    "text": set(),
}
OWN_TYPES = """
CREATE DOMAIN public.day AS date; CREATE DOMAIN public.later AS public.day;
CREATE TYPE public.length AS RANGE (subtype = float8); CREATE DOMAIN public.lengths AS public.length;
"""


@pytest.mark.parametrize(("kind", "names"), OF_KEYS.items(), ids=OF_KEYS)
async def test_behind_a_pooler_check_asks_for_the_settings_that_the_text_of_a_key_depends_on(owner, empty_url, kind, names):
    await owner.execute(f"{OWN_TYPES} CREATE TABLE public.contacts (id {kind} PRIMARY KEY, email text)")
    await asyncio.to_thread(migrate, empty_url)
    await make_hostile(owner, empty_url, **TO_BE_REACHED)

    async def told():
        async with Database(as_worker(empty_url), size=1, behind_pooler=True) as database:
            return [note.partition(": ")[2] for note in await pooler_notes(database)]

    asked = await told()
    assert {name for name in settings.STYLES if any(f" SET {name} = " in one for one in asked)} == names
    try:
        for statement in asked:
            await owner.execute(statement)
        assert await told() == []
    finally:
        await owner.execute(f"ALTER ROLE {WORKER} RESET ALL")


async def test_a_database_that_is_read_only_by_default_is_not_written_to_and_said_so(owner, empty_url):
    """Hosts with a full disk do this, and administrators who move a database."""
    await owner.execute("CREATE TABLE public.contacts (id int PRIMARY KEY, email text)")
    await owner.execute(f"ALTER DATABASE {empty_url.rpartition('/')[2]} SET default_transaction_read_only = on")
    async with process(environment(empty_url, owner=True), "adopt") as adopting:
        code, _, err = await ended(adopting)
    assert code == 78
    assert "read-only" in err
    assert "default_transaction_read_only" in err


async def test_no_statement_of_a_frozen_worker_holds_a_row_for_longer_than_a_minute(app, url):
    async with Database(as_worker(url), size=1) as database:
        assert await database.value("SHOW idle_in_transaction_session_timeout") == "1min"


async def test_the_session_is_not_lost_where_idle_ones_are_ended(app, url):
    await make_hostile(app, url)
    crm = ScriptedCrm()
    async with running(url, crm) as daemon:
        await insert(app, "Queued")
        await until(app, ALL_COMPLETE)
        pid = await app.fetchval("SELECT pid FROM pg_stat_activity WHERE application_name = 'crm-sync session'")
        # Longer than it may be idle there.
        await app.fetchval("SELECT pg_sleep(0.1)")
        await insert(app, "Queued", "bob@example.com")
        await until(app, ALL_COMPLETE)
        assert daemon._wiring is not None
        assert daemon._wiring.session.openings == 1
        assert await app.fetchval("SELECT count(*) FROM pg_stat_activity WHERE pid = $1", pid) == 1
