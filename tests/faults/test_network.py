"""Packets between a worker and Postgres are silently dropped, by the kernels of two machines that are network namespaces."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from crm_sync import events
from crm_sync.core.waits import USUAL
from crm_sync.postgres import locks
from crm_sync.sandbox.brevo.sandbox import BrevoSandbox
from crm_sync.sandbox.postgres import Postgres
from crm_sync.sandbox.server import Fault, Hold
from tests.faults.namespace import UNAVAILABLE, Namespace
from tests.faults.promise import Stopwatch, said
from tests.faults.real_worker import LINE_UP, assert_kept, working
from tests.harness import ALL_COMPLETE, TIMEOUT_S, until, until_asleep
from tests.process import KEY, environment
from tests.roles import migrate
from tests.servers import VERSION, memory
from tests.steps import insert
from tests.tiers import root, slow

pytestmark = [slow, root, pytest.mark.skipif(bool(UNAVAILABLE), reason=UNAVAILABLE)]

DROPPED, UNHARMED = "10.213.0.1", "10.213.0.5"  # both addresses of the machine with Postgres
SERVER_NOTICES_S = 12.0  # because of the keepalives that a session requests
SESSION_OF = (
    "FROM pg_stat_activity WHERE datname = current_database() AND pid IN ("
    f"SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND classid = {locks.WORKER} AND objid = $1::bigint::oid)"
)


@pytest.fixture(scope="module")
def machines() -> Iterator[tuple[Namespace, Namespace]]:
    """The one of Postgres, and the one of the workers."""
    of_postgres, of_workers = Namespace(), Namespace()
    try:
        of_workers.join(of_postgres, "10.213.0.2/24", f"{DROPPED}/24", f"{UNHARMED}/24")
        yield of_postgres, of_workers
    finally:
        of_workers.remove()
        of_postgres.remove()


@pytest.fixture(scope="module")
def own(machines: tuple[Namespace, Namespace]) -> Iterator[Postgres]:
    server = Postgres(VERSION, {"fsync": "off", "listen_addresses": "*"}, within=memory())
    with machines[0].entered():
        try:
            server.create()
            rules = server.data / "pg_hba.conf"
            rules.write_text(f"host all all 10.213.0.0/24 trust\n{rules.read_text()}")
            server.stop()
            server.start()
            migrate(server.create_database("migrated"))
            yield server
        finally:
            server.destroy()


@pytest.fixture
def url(own: Postgres) -> Iterator[str]:
    yield own.create_database("contacts_of_this_test", "migrated")
    own.drop_database("contacts_of_this_test")


@pytest.fixture
async def brevo(machines: tuple[Namespace, Namespace]) -> AsyncIterator[BrevoSandbox]:
    """On the loopback of the workers' machine."""
    sandbox = BrevoSandbox(key=KEY, contacts_per_second=None, contacts_per_hour=None)
    with machines[1].entered():
        await sandbox.start()
    yield sandbox
    await sandbox.stop()


@pytest.fixture
async def network(machines: tuple[Namespace, Namespace]) -> AsyncIterator[Namespace]:
    """The workers' machine, where this test and its workers start."""
    with machines[1].entered():
        yield machines[1]


@pytest.fixture
async def app(machines: tuple[Namespace, Namespace], url: str) -> AsyncIterator[asyncpg.Connection]:
    with machines[0].entered():
        connection = await asyncpg.connect(url)
    yield connection
    await connection.close()


def by(address: str, url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"postgres@{address}:{parts.port}"))


async def test_a_silent_drop_is_noticed_within_ten_seconds_and_heals(app, url, brevo, network):
    async with working(environment(by(DROPPED, url), brevo)) as worker:
        await worker.opened()
        await until_asleep(app)
        network.drop(DROPPED)
        try:
            stopwatch = Stopwatch()
            await insert(app, "Queued")
            await said(worker.log, events.SESSION_LOST)
            noticed_s = stopwatch.tell("dropped packets, from the drop to noticed")
        finally:
            network.heal(DROPPED)
        stopwatch.start()
        await until(app, ALL_COMPLETE)
        healed_s = stopwatch.tell("dropped packets, from healed to delivered")
    await assert_kept(app, "brevo", brevo, twice=0, logs=[worker.log])
    assert noticed_s < 10
    assert healed_s < 10


@pytest.mark.parametrize("rung", [False, True], ids=["in silence", "with a notification on its way"])
async def test_the_server_notices_too_and_what_was_under_way_is_sent_over(app, url, brevo, network, rung):
    """Without requested keepalives, it would hold the locks of a vanished worker for two hours."""
    hold = Hold()
    async with working(environment(by(DROPPED, url), brevo)) as cut_off:
        lost = await cut_off.opened()
        await until_asleep(app)
        brevo.standing_faults.append(Fault(applies=True, hold=hold))
        await app.execute(LINE_UP.format(crm="brevo"), "a", 10)
        async with asyncio.timeout(TIMEOUT_S):
            while len(brevo.contacts) < 10:  # noqa: ASYNC110 (a CRM has no events)
                await asyncio.sleep(0.01)
        brevo.standing_faults.clear()
        async with working(environment(by(UNHARMED, url), brevo)) as heir:
            await heir.opened()
            network.drop(DROPPED)
            # The CRM's answers cannot be written before the network heals.
            hold.release()
            try:
                stopwatch = Stopwatch()
                if rung:
                    await app.execute("SELECT pg_notify('crm_sync', 'brevo')")
                await until(app, f"count(*) = 0 {SESSION_OF}", lost)
                server_s = stopwatch.tell("dropped packets, from the drop to noticed by the server")
                await until(app, ALL_COMPLETE)
                taken_s = stopwatch.tell("dropped packets, from the drop to all taken over and delivered")
            finally:
                network.heal(DROPPED)
            stopwatch.start()
            await said(cut_off.log, events.CONTACTS_LOST)
            stopwatch.tell("dropped packets, from healed to the late finish")
            await said(cut_off.log, events.CONTACTS_OVERWRITTEN)
            await until(app, ALL_COMPLETE)
    await assert_kept(app, "brevo", brevo, twice=20, attempts=3, logs=[cut_off.log, heir.log])
    assert server_s < SERVER_NOTICES_S + 2
    assert taken_s < SERVER_NOTICES_S + 2 + USUAL.tick_s + 1
