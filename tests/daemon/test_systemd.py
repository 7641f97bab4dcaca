"""The worker as a systemd service: its unit, and its notifications."""

import asyncio
import re
import shutil
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from crm_sync.core.waits import USUAL, Waits
from crm_sync.daemon.systemd import Notifier
from crm_sync.lane.lane import Lane
from crm_sync.lane.wake import Wake
from crm_sync.sandbox.server import Fault, Hold
from crm_sync.settings import Settings
from tests import unit
from tests.daemon.systemd import service
from tests.harness import ALL_COMPLETE, TIMEOUT_S, ScriptedCrm, running, until, until_asleep
from tests.process import ended, process
from tests.steps import insert
from tests.tiers import slow

# The unit.


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    return unit.write(tmp_path_factory.mktemp("unit"))


needs_analyze = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze here")


@needs_analyze
def test_systemd_has_nothing_to_say_against_the_unit(printed):
    assert not unit.verify(printed)


@needs_analyze
def test_the_unit_is_hardened(printed):
    assert not unit.exposure(printed)


@needs_analyze
def test_a_key_that_systemd_does_not_know_is_found(printed, tmp_path):
    misspelt = tmp_path / printed.name
    misspelt.write_text(printed.read_text().replace("WatchdogSec=", "WatchDogSeconds="))
    assert "WatchDogSeconds" in unit.verify(misspelt)


@needs_analyze
def test_a_unit_that_leaves_much_open_is_found(printed, tmp_path):
    open_unit = tmp_path / printed.name
    open_unit.write_text(printed.read_text().replace("DynamicUser=yes\n", ""))
    assert unit.exposure(open_unit)


def test_the_unit_runs_the_executable_that_printed_it_and_leaves_time_to_drain(printed):
    text = printed.read_text()
    assert f"ExecStart={Path(sys.executable).with_name('crm-sync')} run\n" in text
    grace_s = Settings.model_fields["shutdown_grace_s"].default
    assert int(re.search(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)[1]) >= grace_s + 2 * USUAL.finish_grace_s


# What it tells.


@pytest.mark.slow
async def test_it_is_ready_says_what_it_does_and_asks_for_time_to_drain(app, url, brevo, systemd):
    hold = Hold()
    brevo.next_faults.append(Fault(lambda call: True, applies=True, hold=hold))
    async with process(service(systemd, url, brevo, SHUTDOWN_GRACE_S="60")) as worker:
        await systemd.told("READY=1")
        await systemd.told("STATUS=delivering to brevo")
        await insert(app, "Queued")
        await asyncio.wait_for(hold.reached.wait(), TIMEOUT_S)
        worker.send_signal(signal.SIGTERM)
        await systemd.told("STOPPING=1")
        assert await systemd.told(r"EXTEND_TIMEOUT_USEC=\d+") == "EXTEND_TIMEOUT_USEC=70000000"
        hold.release()
        assert (await ended(worker))[0] == 0
    assert not [line for line in systemd.lines if line.startswith("WATCHDOG")], "nobody asked for it"


async def test_waiting_for_the_database_is_healthy_and_said(brevo, systemd):
    env = service(systemd, "postgresql://nobody@127.0.0.1:1/nothing", brevo, WATCHDOG_USEC="200000")
    async with process(env):
        await systemd.told("STATUS=waiting for the database: .+")
        await systemd.told("READY=1")
        for _ in range(5):
            await systemd.told("WATCHDOG=1")


async def test_a_wrong_mapping_of_one_crm_is_ready_and_said(brevo, url, systemd, tmp_path):
    mapping = tmp_path / "mapping.toml"
    mapping.write_text('[brevo]\nFIRSTNAME = "no_such_column"\n')
    async with process(service(systemd, url, brevo, MAPPING_FILE=str(mapping))):
        await systemd.told("READY=1")
        await systemd.told(r"STATUS=delivering to no CRM; not to brevo: .*no_such_column.*")


async def test_a_wrong_configuration_is_never_ready(brevo, url, systemd, tmp_path):
    mapping = tmp_path / "mapping.toml"
    mapping.write_text("[brevo")
    async with process(service(systemd, url, brevo, MAPPING_FILE=str(mapping))) as worker:
        assert (await ended(worker))[0] == 78
        await asyncio.get_running_loop().run_in_executor(None, systemd.empty)
    assert "READY=1" not in systemd.lines


async def test_a_blocked_event_loop_is_silent(url, brevo, systemd):
    async with process(service(systemd, url, brevo, WATCHDOG_USEC="200000")) as worker:
        await systemd.told("STATUS=delivering to brevo")
        await systemd.told("WATCHDOG=1")
        worker.send_signal(signal.SIGSTOP)
        systemd.empty()
        assert await systemd.silent(0.6)
        worker.send_signal(signal.SIGCONT)
        await systemd.told("WATCHDOG=1")


@asynccontextmanager
async def watched(daemon, systemd):
    """Its pings, every 50 ms."""
    notifier = Notifier(systemd.address, 0.1)
    watching = asyncio.create_task(notifier.keep_informed(lambda: daemon.moving, lambda: daemon.sentence))
    try:
        yield
    finally:
        watching.cancel()
        notifier.close()


QUICK = Waits(tick_s=0.05, stuck_s=0.5)


async def test_a_lane_that_lost_its_way_in_our_own_code_stops_the_pings(app, url, systemd, monkeypatch):
    asleep = asyncio.Event()

    async def never(self):
        asleep.set()
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(Wake, "sleep", never)
    async with running(url, ScriptedCrm(), waits=QUICK) as daemon, watched(daemon, systemd):
        await systemd.told("STATUS=delivering to brevo")
        await systemd.told("WATCHDOG=1")
        await asyncio.wait_for(asleep.wait(), TIMEOUT_S)
        await insert(app, "Queued")
        async with asyncio.timeout(TIMEOUT_S):
            while not await systemd.silent(0.5):
                pass


async def test_a_tick_that_does_not_come_back_stops_the_pings(url, systemd, monkeypatch):
    began = asyncio.Event()

    async def never(self):
        began.set()
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(Lane, "tick", never)
    async with running(url, ScriptedCrm(), waits=QUICK) as daemon, watched(daemon, systemd):
        await asyncio.wait_for(began.wait(), TIMEOUT_S)
        async with asyncio.timeout(TIMEOUT_S):
            while not await systemd.silent(0.5):
                pass


async def test_a_crm_that_does_not_answer_is_healthy_waiting(app, url, systemd):
    crm = ScriptedCrm(concurrency=1)
    crm.gate.clear()
    async with running(url, crm, waits=QUICK) as daemon, watched(daemon, systemd):
        await app.execute(
            "INSERT INTO contacts (email, brevo_sync_status) SELECT n || '@x.org', 'Queued' FROM generate_series(1, 9) n"
        )
        await crm.reached(1)
        await pings_go_on(systemd)
        crm.gate.set()
        await until(app, ALL_COMPLETE)


async def pings_go_on(systemd):
    """Twice as many as come before a worker that makes no progress is silent."""
    for _ in range(20):
        await systemd.told("WATCHDOG=1")


async def test_an_idle_worker_is_healthy(app, url, systemd):
    async with running(url, ScriptedCrm(), waits=QUICK) as daemon, watched(daemon, systemd):
        await until_asleep(app)
        await pings_go_on(systemd)


@slow
async def test_a_worker_that_waits_for_a_writable_database_is_healthy_and_says_so(app, url, systemd):
    name = url.rpartition("/")[2]
    async with running(url, ScriptedCrm(), waits=QUICK) as daemon, watched(daemon, systemd):
        await systemd.told("STATUS=delivering to brevo")
        await app.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        ours = "application_name LIKE 'crm-sync%' AND datname = current_database()"
        await app.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {ours}")
        await systemd.told("STATUS=waiting for the database: .+")
        await pings_go_on(systemd)
        await app.execute(f"SET default_transaction_read_only = off; ALTER DATABASE {name} RESET default_transaction_read_only")
        await systemd.told("STATUS=delivering to brevo")
