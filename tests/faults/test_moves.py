"""A database moves with contacts in flight: into and out of a dump, and to another cluster with pg_upgrade."""

import asyncio
import subprocess

import asyncpg
import pytest

from crm_sync.core.waits import Waits
from crm_sync.sandbox.postgres import Postgres
from tests import roles
from tests.harness import ALL_COMPLETE, ScriptedCrm, running, until
from tests.servers import running_server
from tests.tiers import slow

QUICK = Waits(tick_s=0.2, first_reconnect_s=0.05, longest_reconnect_s=0.2)
IN_FLIGHT = (
    "INSERT INTO crm_sync.workers (id, host, pid, version) VALUES (77, 'gone', 1, '0');"
    "INSERT INTO contacts (email, brevo_sync_status) SELECT n || '@example.com', 'Queued' FROM generate_series(1, 20) AS n;"
    "UPDATE contacts SET brevo_sync_status = 'Processing', brevo_processing_status = 'Processing', brevo_attempts = 1, "
    "brevo_claimed_by = (77::bigint << 32) | 1 WHERE email LIKE '1%'"
)


def program(server, name, *arguments):
    subprocess.run([server.binaries / name, *arguments], capture_output=True, check=True)


@slow
async def test_a_full_dump_with_contacts_in_flight_is_delivered_where_it_is_restored(server, app, url, empty_url, tmp_path):
    if not isinstance(server, Postgres):
        pytest.skip("a dump is made with the pg_dump of the embedded server")
    await app.execute(IN_FLIGHT)
    dump = str(tmp_path / "dump")
    await asyncio.to_thread(program, server, "pg_dump", "-Fc", "-f", dump, url)
    await asyncio.to_thread(program, server, "pg_restore", "-j", "2", "-d", empty_url, dump)
    restored = await asyncpg.connect(empty_url)
    crm = ScriptedCrm()
    async with running(empty_url, crm, waits=QUICK):
        await until(restored, ALL_COMPLETE)
    assert len(crm.store) == 20
    await restored.close()


@slow
async def test_after_pg_upgrade_the_same_worker_goes_on():
    with running_server() as old, running_server() as new:
        url = old.create_database("contacts")
        await asyncio.to_thread(roles.migrate, url)
        app = await asyncpg.connect(url)
        crm = ScriptedCrm()
        crm.gate.clear()
        async with running(url, crm, waits=QUICK):
            await app.execute(
                "INSERT INTO contacts (email, brevo_sync_status) SELECT n || '@x.org', 'Queued' FROM generate_series(1, 8) n"
            )
            await crm.reached(8)
            await app.close()
            await asyncio.to_thread(old.stop)
            await asyncio.to_thread(upgrade, old, new)
            crm.gate.set()
            again = await asyncpg.connect(url)
            await until(again, ALL_COMPLETE)
            await again.execute("UPDATE contacts SET brevo_sync_status = 'Queued'")
            await crm.reached(16)
            await until(again, ALL_COMPLETE)
            await again.close()


def upgrade(old, new):
    """The new cluster gets the content and the port of the old one."""
    new.stop()
    new._run(
        "pg_upgrade", "-U", "postgres", "-b", new.binaries, "-B", new.binaries, "-d", old.data, "-D", new.data, "-p", old.port,
        "-P", new.port, "-s", new.folder, "--copy",
    )  # fmt: skip
    new.port = old.port
    new.start()
