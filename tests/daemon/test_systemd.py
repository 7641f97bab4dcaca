"""The worker as a service of systemd: its unit, what it tells, and SIGHUP."""

import asyncio
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.daemon.harness import ALL_COMPLETE, TIMEOUT_S, ScriptedCrm, account, running, until, until_asleep
from tests.daemon.test_process import brevo, ended, environment, process, said  # noqa: F401 (brevo is a fixture)
from tests.db.steps import insert
from worker.daemon import FINISH_GRACE_S, Daemon
from worker.lane import Lane
from worker.notify import Notifier
from worker.sandbox.server import Fault, Hold
from worker.settings import Settings


class Systemd:
    """The other end of NOTIFY_SOCKET. lines: everything told so far."""

    def __init__(self, folder: Path) -> None:
        self.address = str(folder / "notify")
        self.lines: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        self._socket.setblocking(False)

    async def told(self, pattern: str) -> str:
        """The next line that is like this; those before it are passed over."""
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                datagram = (await asyncio.get_running_loop().sock_recv(self._socket, 4096)).decode()
                self.lines += datagram.splitlines()
                for line in datagram.splitlines():
                    if re.fullmatch(pattern, line):
                        return line

    async def silent(self, seconds: float) -> bool:
        """Whether no ping comes for so long."""
        try:
            async with asyncio.timeout(seconds):
                await self.told("WATCHDOG=1")
        except TimeoutError:
            return True
        return False

    def empty(self) -> None:
        while True:
            try:
                self._socket.recv(4096)
            except BlockingIOError:
                return

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def systemd(tmp_path):
    listening = Systemd(tmp_path)
    yield listening
    listening.close()


def service(systemd, url, crm, **settings):
    return environment(url, crm, NOTIFY_SOCKET=systemd.address, **settings)


# The unit.


@pytest.fixture
def unit(tmp_path):
    command = Path(sys.executable).with_name("crm-sync")
    printed = subprocess.run([command, "systemd"], capture_output=True, text=True, check=True, timeout=TIMEOUT_S).stdout
    path = tmp_path / "crm-sync.service"
    path.write_text(printed)
    return path


needs_analyze = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze here")


@needs_analyze
def test_systemd_has_nothing_to_say_against_the_unit(unit):
    answer = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert (answer.returncode, answer.stderr) == (0, ""), "it exits with 0 for a key that it does not know"


@needs_analyze
def test_the_unit_is_hardened(unit):
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=15", "--no-pager", unit]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_the_unit_runs_the_executable_that_printed_it_and_leaves_time_to_drain(unit):
    text = unit.read_text()
    assert f"ExecStart={Path(sys.executable).with_name('crm-sync')} run\n" in text
    grace_s = Settings.model_fields["shutdown_grace_s"].default
    assert int(re.search(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)[1]) >= grace_s + 2 * FINISH_GRACE_S


# What it tells.


async def test_it_is_ready_says_what_it_does_and_asks_for_time_to_drain(app, url, brevo, systemd):  # noqa: F811
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


async def test_waiting_for_the_database_is_healthy_and_said(brevo, systemd):  # noqa: F811
    env = service(systemd, "postgresql://nobody@127.0.0.1:1/nothing", brevo, WATCHDOG_USEC="200000")
    async with process(env):
        await systemd.told("STATUS=waiting for the database: .+")
        await systemd.told("READY=1")
        for _ in range(5):
            await systemd.told("WATCHDOG=1")


async def test_a_wrong_configuration_is_never_ready(brevo, url, systemd, tmp_path):  # noqa: F811
    mapping = tmp_path / "mapping.toml"
    mapping.write_text('[brevo]\nFIRSTNAME = "no_such_column"\n')
    async with process(service(systemd, url, brevo, MAPPING_FILE=str(mapping))) as worker:
        assert (await ended(worker))[0] == 78
        await asyncio.get_running_loop().run_in_executor(None, systemd.empty)
    assert "READY=1" not in systemd.lines


async def test_a_blocked_event_loop_is_silent(url, brevo, systemd):  # noqa: F811
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
    watching = asyncio.create_task(notifier.watch(lambda: daemon.moving, lambda: daemon.sentence))
    try:
        yield
    finally:
        watching.cancel()
        notifier.close()


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr("worker.session.TICK_S", 0.05)
    monkeypatch.setattr("worker.progress.STUCK_S", 0.5)


async def test_a_lane_that_lost_its_way_in_our_own_code_stops_the_pings(app, url, systemd, quick, monkeypatch):
    async def never(self):
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(Lane, "_sleep", never)
    async with running(url, ScriptedCrm()) as daemon, watched(daemon, systemd):
        await systemd.told("STATUS=delivering to brevo")
        await systemd.told("WATCHDOG=1")
        await insert(app, "Queued")
        async with asyncio.timeout(TIMEOUT_S):
            while not await systemd.silent(0.5):
                pass


async def test_a_crm_that_does_not_answer_is_healthy_waiting(app, url, systemd, quick):
    crm = ScriptedCrm(concurrency=1)
    crm.gate.clear()
    async with running(url, crm) as daemon, watched(daemon, systemd):
        await app.execute(
            "INSERT INTO contacts (email, brevo_sync_status) SELECT n || '@x.org', 'Queued' FROM generate_series(1, 9) n"
        )
        await crm.reached(1)
        await pings_for(systemd, 1)
        crm.gate.set()
        await until(app, ALL_COMPLETE)


async def pings_for(systemd, seconds):
    deadline = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < deadline:
        assert not await systemd.silent(0.5)


async def test_an_idle_worker_is_healthy(app, url, systemd, quick):
    async with running(url, ScriptedCrm()) as daemon, watched(daemon, systemd):
        await until_asleep(app)
        await pings_for(systemd, 1)


async def test_a_worker_that_waits_for_a_writable_database_is_healthy_and_says_so(app, url, systemd, quick):
    name = url.rpartition("/")[2]
    async with running(url, ScriptedCrm()) as daemon, watched(daemon, systemd):
        await systemd.told("STATUS=delivering to brevo")
        await app.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        ours = "application_name LIKE 'crm-sync%' AND datname = current_database()"
        await app.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {ours}")
        await systemd.told("STATUS=waiting for the database: .+")
        await pings_for(systemd, 1)
        await app.execute(f"SET default_transaction_read_only = off; ALTER DATABASE {name} RESET default_transaction_read_only")
        await systemd.told("STATUS=delivering to brevo")


# SIGHUP.


GOOD = '[brevo]\nFIRSTNAME = "first_name"\n'


async def test_a_good_reload_takes_effect_and_costs_no_contact_an_attempt(app, url, brevo, systemd, tmp_path):  # noqa: F811
    mapping = tmp_path / "mapping.toml"
    mapping.write_text(GOOD)
    hold = Hold()
    brevo.next_faults.append(Fault(lambda call: True, applies=True, hold=hold))
    async with process(service(systemd, url, brevo, MAPPING_FILE=str(mapping))) as worker:
        await systemd.told("READY=1")
        await app.execute(
            "INSERT INTO contacts (email, first_name, brevo_sync_status) "
            "SELECT n || '@example.com', 'Ada', 'Queued' FROM generate_series(1, 200) AS n"
        )
        await asyncio.wait_for(hold.reached.wait(), TIMEOUT_S)
        mapping.write_text("[brevo]\nFIRSTNAME = \"first_name || '!'\"\n")
        worker.send_signal(signal.SIGHUP)
        await systemd.told("RELOADING=1")
        await systemd.told(r"EXTEND_TIMEOUT_USEC=\d+")
        hold.release()
        await systemd.told("READY=1")
        await said(worker, "configuration_reloaded")
        contact = await insert(app, "Queued", "eve@example.com")
        await app.execute("UPDATE contacts SET first_name = 'Eve', brevo_sync_status = 'Queued' WHERE id = $1", contact)
        await until(app, ALL_COMPLETE)
        worker.send_signal(signal.SIGTERM)
        assert (await ended(worker))[0] == 0
    assert await app.fetchval("SELECT max(brevo_attempts) FROM contacts") == 1
    assert len(brevo.contacts) == 201
    assert any("Eve!" in json.dumps(request.body) for request in brevo.requests)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [("[brevo]\nFIRSTNAME = 1\n", "brevo.FIRSTNAME"), ('[brevo]\nFIRSTNAME = "nothing"\n', "nothing"), ("[brevo", "no TOML")],
)
async def test_a_wrong_mapping_is_refused_and_the_old_one_stays(app, url, brevo, systemd, tmp_path, wrong, reason):  # noqa: F811, PLR0917
    mapping = tmp_path / "mapping.toml"
    mapping.write_text(GOOD)
    async with process(service(systemd, url, brevo, MAPPING_FILE=str(mapping))) as worker:
        await systemd.told("READY=1")
        mapping.write_text(wrong)
        worker.send_signal(signal.SIGHUP)
        await systemd.told("RELOADING=1")
        await systemd.told("READY=1")
        assert reason in str((await said(worker, "configuration_refused"))["reason"])
        await insert(app, "Queued")
        await until(app, ALL_COMPLETE)
        assert worker.returncode is None


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("BREVO_SYNC_MAX_RETRIES", "many"),
        ("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing"),
        ("BREVO_BASE_URL", "http://example.com"),
    ],
)
async def test_a_wrong_setting_is_refused_and_the_old_one_stays(app, url, brevo, systemd, tmp_path, name, wrong):  # noqa: F811, PLR0917
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    env = service(systemd, url, brevo, CREDENTIALS_DIRECTORY=str(credentials))
    good = {"BREVO_SYNC_MAX_RETRIES": "3", "DATABASE_URL": url, "BREVO_BASE_URL": env["BREVO_BASE_URL"]}
    for setting, value in good.items():
        env.pop(setting, None)
        (credentials / setting).write_text(value)
    async with process(env) as worker:
        await systemd.told("READY=1")
        (credentials / name).write_text(wrong)
        worker.send_signal(signal.SIGHUP)
        await said(worker, "configuration_refused")
        await insert(app, "Queued")
        await until(app, ALL_COMPLETE)
        (credentials / name).write_text(good[name])
        worker.send_signal(signal.SIGHUP)
        await said(worker, "configuration_reloaded")
        worker.send_signal(signal.SIGTERM)
        assert (await ended(worker))[0] == 0


async def test_a_session_that_would_hear_nothing_is_refused(url, empty_url, monkeypatch):
    monkeypatch.setattr("worker.ear.EAR_TIMEOUT_S", 0.2)
    settings = Settings(database_url=url, listen_database_url=empty_url, _env_file=None)
    with pytest.raises(Exception, match=r"LISTEN_DATABASE_URL.*direct connection"):
        await Daemon(settings, {"brevo": account(ScriptedCrm())}).check()
