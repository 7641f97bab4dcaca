"""A database restored from a schema-only dump: crm-sync's tables exist, without their rows."""

import asyncio
import re
import subprocess

import asyncpg
import pytest

from crm_sync.adoption import migrations
from crm_sync.adoption.adopt import adopt as put_on
from crm_sync.adoption.adopt import plan
from crm_sync.adoption.table import AdoptionRequest
from crm_sync.errors import ConfigurationError
from crm_sync.postgres import locks
from crm_sync.sandbox.postgres import Postgres
from tests.adoption.steps import adopt, adopt_only, complete, delivering, undo, until
from tests.photograph import take
from tests.process import ended, environment, process
from tests.tiers import slow

EMPTY = (
    "TRUNCATE crm_sync.lanes, crm_sync.adopted, crm_sync.added, crm_sync.budgets, crm_sync.workers, crm_sync.tombstones, "
    "crm_sync._crm_sync_migration, crm_sync._yoyo_log, crm_sync._yoyo_version RESTART IDENTITY CASCADE"
)
TABLE = "CREATE SCHEMA app; CREATE TABLE app.people (id int PRIMARY KEY, email text, first_name text)"
LANES = "SELECT crm, remote_id_column, installed, on_delete FROM crm_sync.lanes ORDER BY id"


def load_definitions(server, source, target):
    """Like `pg_dump -s source | psql target`."""
    dump = subprocess.run(
        [server.binaries / "pg_dump", "--schema-only", server.url(source)], capture_output=True, text=True, check=True
    ).stdout
    subprocess.run(
        [server.binaries / "psql", "-q", "-v", "ON_ERROR_STOP=1", server.url(target)],
        input=dump, capture_output=True, text=True, check=True,
    )  # fmt: skip


def photographed(server, url):
    """Without the numbers of the lanes, which may differ."""
    return re.sub(rf"\({locks.BELL}, \d+\)", "(bell)", take(server, url.rpartition("/")[2]))


@pytest.fixture
def loaded_url(server, empty_url):
    """Another database, restored from the schema of the one at empty_url."""
    if not isinstance(server, Postgres):
        pytest.skip("a dump is made with the pg_dump of the embedded server")
    source = empty_url.rpartition("/")[2]
    target = f"{source}_loaded"

    def load():
        url = server.create_database(target)
        load_definitions(server, source, target)
        return url

    yield load
    server.drop_database(target)


@slow
async def test_migrate_writes_anew_what_stood_there_and_a_worker_delivers(server, owner, empty_url, loaded_url, brevo):
    await owner.execute(TABLE)
    await adopt_only(empty_url, "app.people", crms=("brevo", "hubspot"))
    await owner.execute("SELECT crm_sync.watch('brevo', '{email}'); SELECT crm_sync.set_on_delete('hubspot', 'erase')")
    lanes = await owner.fetch(LANES)
    before = await asyncio.to_thread(photographed, server, empty_url)
    url = loaded_url()
    for command, code in ((("check",), 1), (("migrate", "--check"), 78), (("status",), 78), (("adopt", "--undo", "--yes"), 78)):
        async with process(environment(url, brevo, owner=True), *command) as asked:
            exit_code, out, err = await ended(asked)
        said = " ".join((out + err).split())
        assert exit_code == code, said
        assert "Traceback" not in said
        assert "run `crm-sync migrate`" in said
    async with process(environment(url, owner=True), "adopt", "--plan") as planning:
        code, out, err = await ended(planning)
    assert code == 0, err
    assert "Found app.people" in out
    assert "are empty, as after" in " ".join(out.split())
    async with process(environment(url, owner=True), "migrate") as migrating:
        code, out, err = await ended(migrating)
    assert (code, err) == (0, "")
    assert "restored" in out
    app = await asyncpg.connect(url)
    assert await app.fetch(LANES) == lanes
    assert await asyncio.to_thread(photographed, server, url) == before
    assert migrations.pending(url) == []
    async with process(environment(url, owner=True), "migrate") as again:
        assert "Nothing to do" in (await ended(again))[1]
    await adopt(url)
    async with delivering(url):
        await app.execute(
            "INSERT INTO app.people VALUES (1, 'a@example.com'); UPDATE app.people SET brevo_sync_status = 'Queued'"
        )
        await until(app, "app.people", complete())
        # The watch rings for its own lane.
        await app.execute("UPDATE app.people SET email = 'b@example.com'")
        await until(
            app, "app.people", f"{complete()} AND min(brevo_attempts) = 1 AND bool_and(brevo_flipped_at < brevo_synced_at)"
        )
    await app.close()


async def test_the_numbers_of_the_lanes_are_those_that_their_functions_ring_for(owner, empty_url):
    await owner.execute(TABLE)
    # The first one is removed again, so that the numbers do not begin at 1.
    await adopt_only(empty_url, "app.people", crms=("mautic", "n8n", "brevo"))
    await owner.execute("SELECT crm_sync.remove_crm('mautic'); SELECT crm_sync.watch('brevo', '{email}')")
    await owner.execute(EMPTY)
    await adopt_only(empty_url)
    for crm in ("n8n", "brevo"):
        number = await owner.fetchval("SELECT id FROM crm_sync.lanes WHERE crm = $1", crm)
        sources = await owner.fetch(
            "SELECT proname, prosrc FROM pg_proc WHERE proname LIKE $1 AND prosrc LIKE $2", f"{crm}\\_%", f"%{locks.BELL}%"
        )
        assert sources
        for name, source in sources:
            assert f"({locks.BELL}, {number})" in source, name


@pytest.mark.slow
async def test_of_an_older_version_the_rest_is_applied(owner, empty_url):
    await owner.execute(TABLE)
    names = migrations.names()
    await adopt_only(empty_url, "app.people", crms=("brevo",))
    for name in reversed(names[5:]):
        await owner.execute(migrations.statements(f"{name}.rollback"))
    await owner.execute(EMPTY)
    planned = await asyncio.to_thread(plan, empty_url, AdoptionRequest())
    assert planned.migrations == names[5:]
    done = await adopt_only(empty_url)
    assert [name for name in done if name in names] == names[5:]
    assert await adopt_only(empty_url) == []


async def test_it_is_no_other_tables(owner, empty_url):
    await owner.execute(f"{TABLE}; CREATE TABLE contacts (id int PRIMARY KEY, email text)")
    await adopt_only(empty_url, "app.people", crms=("brevo",))
    await owner.execute(EMPTY)
    with pytest.raises(ConfigurationError, match=r"CONTACTS_TABLE: crm-sync has its triggers on app\.people, and contacts is"):
        await asyncio.to_thread(put_on, empty_url, AdoptionRequest("contacts"))
    await adopt_only(empty_url)
    assert await owner.fetchval("SELECT contacts::text FROM crm_sync.adopted") == "app.people"


@slow
async def test_an_undo_leaves_the_columns_for_nobody_knows_whose_they_are(owner, empty_url):
    await owner.execute(TABLE)
    await adopt_only(empty_url, "app.people", crms=("brevo",))
    await owner.execute(EMPTY)
    with pytest.raises(ConfigurationError, match="are empty, as after"):
        await undo(empty_url)
    await adopt_only(empty_url)
    await undo(empty_url)
    assert await owner.fetchval("SELECT to_regnamespace('crm_sync')") is None
    assert await owner.fetchval("SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'crm%'") == 0
    assert "brevo_due_at" in [
        row[0] for row in await owner.fetch("SELECT attname FROM pg_attribute WHERE attrelid = 'app.people'::regclass")
    ]
    await adopt_only(empty_url, "app.people", crms=("brevo",))
