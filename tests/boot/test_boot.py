"""The unit printed by `crm-sync systemd`, on a real systemd: a machine boots for each test.

The tests add drop-ins: the location of the keys, and shorter times.
"""

import asyncio
import re
import shlex
from pathlib import Path

import pytest

from crm_sync.sandbox.postgres import free_port
from crm_sync.sandbox.server import Fault, Hold
from tests.boot.service import FOLDER, MAPPING, OTHER, WRONG, Service
from tests.boot.tree import INSIDE
from tests.faults.promise import Stopwatch
from tests.harness import ALL_COMPLETE, TIMEOUT_S, until
from tests.process import KEY
from tests.roles import PASSWORD, as_worker
from tests.steps import insert
from tests.tiers import root, slow

pytestmark = [slow, root]


@pytest.fixture
async def service(machine, url, brevo):
    """Installed, but not started yet."""
    service = Service(machine)
    await service.install(as_worker(url), brevo.url)
    return service


@pytest.fixture
async def started(service):
    try:
        await service.systemctl("enable", "--now")
    except AssertionError as error:
        raise AssertionError(f"{error}\n{await service.journal()}") from None
    return service


async def test_it_starts_says_what_it_does_and_delivers(app, brevo, started):
    assert await started.show("ActiveState") == "active"
    await started.shows("StatusText", "delivering to brevo")
    await insert(app, "Queued")
    await until(app, ALL_COMPLETE)
    assert len(brevo.contacts) == 1


async def test_it_is_active_once_its_configuration_was_looked_at_and_not_before(service):
    connected, answered = asyncio.Event(), asyncio.Event()

    async def silent_database(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set()
        await answered.wait()
        writer.close()

    async with await asyncio.start_server(silent_database, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        service.machine.write(f"{FOLDER}/keys/database_url", f"postgresql://nobody@127.0.0.1:{port}/nothing", mode=0o600)
        await service.systemctl("start", "--no-block")
        await asyncio.wait_for(connected.wait(), TIMEOUT_S)
        assert await service.show("ActiveState") == "activating"
        answered.set()
        await service.shows("ActiveState", "active")
        await service.shows("StatusText", "waiting for the database: .+")


async def test_keys_are_files_for_the_worker_alone_and_nowhere_else(app, started):
    await insert(app, "Queued")
    await until(app, ALL_COMPLETE)
    process = started.machine.path(f"/proc/{await started.process()}")
    variables = dict(entry.split("=", 1) for entry in (process / "environ").read_text().split("\0") if entry)
    assert not variables.keys() & {"DATABASE_URL", "BREVO_API_KEY"}
    credential = process / "root" / variables["CREDENTIALS_DIRECTORY"].lstrip("/") / "BREVO_API_KEY"
    assert credential.read_text() == KEY
    assert credential.stat().st_mode & 0o777 == 0o400
    everything = [(process / name).read_text() for name in ("environ", "cmdline")]
    everything += [await started.journal(), await started.systemctl("show"), await started.systemctl("status")]
    for text in everything:
        assert KEY not in text
        assert PASSWORD not in text


async def test_a_worker_that_stands_still_is_restarted_by_the_watchdog(app, service):
    await service.edit("watchdog", "WatchdogSec=4")
    await service.systemctl("start")
    await service.shows("StatusText", "delivering to brevo")
    first = await service.process()
    stopwatch = Stopwatch()
    await service.systemctl("kill", "--kill-whom=main", "--signal=SIGSTOP")
    await insert(app, "Queued")
    await until(app, ALL_COMPLETE)
    stopwatch.tell("stopped with WatchdogSec=4: delivered again after")
    assert await service.show("NRestarts") == "1"
    assert await service.process() != first
    assert "Watchdog timeout" in await service.journal()


async def test_a_killed_worker_is_restarted_and_goes_on(app, started):
    await started.shows("StatusText", "delivering to brevo")
    stopwatch = Stopwatch()
    await started.systemctl("kill", "--kill-whom=main", "--signal=SIGKILL")
    await insert(app, "Queued")
    await until(app, ALL_COMPLETE)
    stopwatch.tell("killed: delivered again after")
    assert await started.show("NRestarts") == "1"


async def test_a_stop_lets_the_request_under_way_end_and_is_clean(app, brevo, started):
    hold = await held(app, brevo)
    await started.systemctl("stop", "--no-block")
    await started.shows("StatusText", "stopping: .+")
    hold.release()
    await assert_stopped_cleanly(app, started)


@pytest.mark.parametrize("reloading", [False, True], ids=["at work", "while it reloads"])
async def test_a_longer_grace_than_the_unit_knows_of_is_given(app, brevo, service, reloading):
    await service.edit("stop", "TimeoutStopSec=1")
    await service.systemctl("start")
    hold = await held(app, brevo)
    if reloading:
        await service.systemctl("reload", "--no-block")
        await service.shows("StatusText", "stopping: .+")
    await service.systemctl("stop", "--no-block")
    # What is shown: even after three times the unit's limit, it still gets to end.
    await asyncio.sleep(3)
    assert await service.show("ActiveState") == "deactivating"
    hold.release()
    await assert_stopped_cleanly(app, service)


async def held(app, brevo) -> Hold:
    """A contact whose request the CRM has received but not answered."""
    hold = Hold()
    brevo.next_faults.append(Fault(lambda call: True, applies=True, hold=hold))
    await insert(app, "Queued")
    await asyncio.wait_for(hold.reached.wait(), TIMEOUT_S)
    return hold


async def assert_stopped_cleanly(app, service) -> None:
    await service.shows("ActiveState", "inactive|failed")
    assert (await service.show("Result"), await service.show("ExecMainStatus")) == ("success", "0")
    assert await app.fetchval(f"SELECT {ALL_COMPLETE}")
    assert await app.fetchval("SELECT count(*) FROM crm_sync.workers") == 0


async def test_a_wrong_configuration_is_not_restarted_and_the_reason_is_shown(service):
    service.machine.write(MAPPING, "[brevo")
    await service.systemctl("start", code=1)
    assert [await service.show(name) for name in ("ActiveState", "SubState", "NRestarts")] == ["failed", "failed", "0"]
    assert await service.show("ExecMainStatus") == "78"
    status = await service.systemctl("status", "--full", code=3)
    assert "status=78/CONFIG" in status
    assert "is not valid TOML" in status


async def test_a_reload_takes_what_is_right_and_refuses_what_is_wrong(app, brevo, started):
    first = await started.process()
    started.machine.write(MAPPING, WRONG)
    await started.systemctl("reload")
    await started.said("configuration_refused")
    assert "no_such_column" in await started.journal()
    await insert(app, "Queued")
    await until(app, ALL_COMPLETE)
    assert names(brevo) == {"Ada"}

    started.machine.write(MAPPING, OTHER)
    await started.systemctl("reload")
    await started.said("configuration_reloaded")
    await app.execute("UPDATE contacts SET brevo_sync_status = 'Queued'")
    await until(app, ALL_COMPLETE)
    assert names(brevo) == {"Ada!"}
    assert await started.show("ActiveState") == "active"
    assert await started.process() == first


def names(brevo) -> set[object]:
    return {contact.attributes.get("FIRSTNAME") for contact in brevo.contacts.values()}


ASK = """
import socket, sys
where = sys.argv[1]
asked = socket.socket(socket.AF_UNIX) if where.startswith("/") else socket.socket()
asked.connect(where if where.startswith("/") else ("127.0.0.1", int(where.rpartition(":")[2])))
asked.sendall(b"GET /readyz HTTP/1.0\\r\\n\\r\\n")
print(asked.recv(65536).decode())
"""


@pytest.mark.parametrize("where", ["/run/crm-sync/metrics.sock", f"127.0.0.1:{free_port()}"], ids=["a socket", "loopback"])
async def test_metrics_are_served_to_others_of_the_machine(service, where):
    """By the user nobody: the folder of the socket is the unit's."""
    service.machine.write("/opt/ask.py", ASK)
    await service.set("METRICS_LISTEN", where)
    await service.systemctl("start")
    await service.said("metrics_served")
    await service.said("session_opened")
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    answer = await service.machine.run(*nobody, f"{INSIDE}/bin/python", "/opt/ask.py", where)
    assert "200 OK" in answer
    await service.systemctl("stop")
    assert await service.show("Result") == "success"


async def test_the_worker_can_do_nothing_but_its_work(service):
    service.machine.write("/opt/probe.py", Path(__file__).with_name("probe.py").read_text())
    folders = ":".join((FOLDER, "/etc", "/usr", "/opt", "/var/lib", "/root", "/home", "/run", "/dev", "/sys/fs/cgroup", "/"))
    probe = shlex.join([f"{INSIDE}/bin/python", "/opt/probe.py", f"{FOLDER}/keys/brevo_api_key", folders])
    await service.edit("probe", f"ExecStartPre={probe}")
    await service.systemctl("start")
    assert "could: nothing\n" in await service.journal()


async def test_systemd_itself_finds_it_little_exposed(started):
    answer = await started.machine.run("systemd-analyze", "security", "--no-pager", "crm-sync.service")
    [level] = re.findall(r"exposure level for crm-sync.service: ([\d.]+)", answer)
    print(f"\nexposure level: {level}")
    assert float(level) <= 1.5
