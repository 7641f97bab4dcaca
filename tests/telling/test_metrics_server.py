"""/metrics, /livez and /readyz of a worker, at METRICS_LISTEN: what they return, and that they delay no delivery."""

import asyncio
import socket
import stat
from pathlib import Path

import aiohttp
import pytest

from crm_sync import events, measurements
from crm_sync.core.outcome import Outcome
from crm_sync.core.waits import Waits
from crm_sync.environment import Environment
from crm_sync.errors import ConfigurationError, RefusedError
from crm_sync.sandbox.postgres import free_port
from crm_sync.settings import Settings
from tests.daemon.systemd import Systemd
from tests.harness import ALL_COMPLETE, TIMEOUT_S, ScriptedCrm, daemon_for, running, until, until_asleep
from tests.process import environment, process, said
from tests.roles import WORKER
from tests.steps import insert
from tests.telling.away import away
from tests.telling.scrape import answered, get, scraped
from tests.tiers import slow

QUICK = Waits(count_s=0.05, tell_s=0.05, tick_s=0.2, pulse_s=0.05, first_mending_look_s=0.05, longest_mending_look_s=0.1)
SLOW_TICK = Waits(tell_s=600.0, tick_s=600.0, pulse_s=0.05)


@pytest.fixture
def address():
    return f"127.0.0.1:{free_port()}"


async def test_a_delivery_is_counted_from_the_flip_to_the_row(app, url, address):
    async with running(url, ScriptedCrm(), metrics_listen=address):
        await until_asleep(app)
        await insert(app, "Queued")
        scrape = await scraped(address, lambda scrape: scrape.total("contacts_finished_total", crm="brevo"))
    assert scrape.value("contacts_finished_total", crm="brevo", outcome="delivered") == 1
    assert scrape.value("wakes_total", crm="brevo", cause="bell") == 1
    assert scrape.value("delivery_latency_seconds_count", crm="brevo") == 1
    assert 0 < scrape.value("delivery_latency_seconds_sum", crm="brevo") < 60
    assert scrape.value("request_contacts_sum", crm="brevo") == 1
    assert scrape.value("statement_duration_seconds_count", statement="claim_contacts") >= 1
    assert scrape.value("statement_duration_seconds_count", statement="finish_contacts") == 1
    assert scrape.value("session_up") == 1


async def test_a_failure_is_counted_by_its_code(app, url, address):
    crm = ScriptedCrm()
    crm.answer = lambda _: Outcome.rejected("DUPLICATE", "ada@example.com is another's")
    async with running(url, crm, metrics_listen=address):
        await insert(app, "Queued")
        await until(app, "bool_and(brevo_sync_status = 'Error') FROM contacts")
        scrape = await scraped(address, lambda scrape: scrape.total("contact_errors_total"))
    assert scrape.value("contact_errors_total", crm="brevo", code="DUPLICATE") == 1
    assert scrape.value("contacts_finished_total", crm="brevo", outcome="rejected") == 1


async def test_contacts_in_flight_are_shown_as_long_as_they_are(app, url, address):
    crm = ScriptedCrm()
    crm.gate.clear()
    async with running(url, crm, metrics_listen=address):
        await insert(app, "Queued")
        await crm.reached(1)
        assert (await scraped(address)).value("in_flight_contacts", crm="brevo") == 1
        crm.gate.set()
        await scraped(address, lambda scrape: scrape.value("in_flight_contacts", crm="brevo") == 0)


@slow
async def test_a_scrape_asks_nothing_of_the_database(app, url, address):
    """Metrics of all workers were read before, and are not read again here."""
    names = []
    listener = lambda one: names.append(one.name) if isinstance(one, measurements.Statement) else None  # noqa: E731
    async with running(url, ScriptedCrm(), metrics_listen=address, waits=SLOW_TICK):
        await scraped(address, lambda scrape: scrape.value("workers"))
        measurements.tap(listener)
        try:
            quiet = 0
            while quiet < 20:  # the lane is asleep, and the full look over
                names.clear()
                await get(address, "/metrics")
                quiet = 0 if names else quiet + 1
            for path in ("/metrics", "/livez", "/readyz") * 20:
                await get(address, path)
        finally:
            measurements.untap(listener)
    # Events, such as the start of the worker, are written a moment later, whatever is requested meanwhile.
    assert [name for name in names if name != "write_events"] == []


async def test_prometheus_and_openmetrics_get_their_own_format(url, address):
    async with running(url, ScriptedCrm(), metrics_listen=address):
        plain = await answered(address, "/metrics")
        open_metrics = await get(address, "/metrics", {"Accept": "application/openmetrics-text; version=1.0.0"})
    assert "# TYPE crm_sync_contacts_finished_total counter" in plain
    assert open_metrics[1].endswith("# EOF\n")


async def test_other_paths_and_methods_are_none(url, address):
    async with running(url, ScriptedCrm(), metrics_listen=address):
        await answered(address, "/livez")
        assert [(await get(address, path))[0] for path in ("/", "/metrics/", "/../etc/passwd")] == [404, 404, 404]
        async with aiohttp.ClientSession() as session, session.post(f"http://{address}/metrics") as response:
            assert response.status == 405


class TestLivezAndReadyz:
    async def test_are_both_well_while_it_delivers(self, url, address):
        async with running(url, ScriptedCrm(), metrics_listen=address):
            assert await answered(address, "/readyz") == "there is a session with the database\n"
            assert await answered(address, "/livez") == "all loops run\n"

    @slow
    async def test_a_lost_session_is_not_ready_but_alive(self, app, url, address):
        async with running(url, ScriptedCrm(), metrics_listen=address, waits=QUICK):
            await answered(address, "/readyz")
            async with away(url, app):
                await answered(address, "/readyz", 503)
                assert (await get(address, "/livez"))[0] == 200
                scrape = await scraped(address, lambda scrape: scrape.value("session_losses_total"))
                assert scrape.value("session_up") == 0
                assert scrape.value("workers") is None, "what is told of all workers is absent, not stale"
            await answered(address, "/readyz")
            await scraped(address, lambda scrape: scrape.value("workers") == 1)

    async def test_a_misconfigured_lane_fails_neither(self, app, url, address):
        async with running(url, ScriptedCrm(), metrics_listen=address, waits=QUICK):
            await answered(address, "/readyz")
            await app.execute(f"REVOKE UPDATE (brevo_synced_at) ON contacts FROM {WORKER}")
            await insert(app, "Queued")
            await scraped(address, lambda scrape: scrape.value("lane_state", crm="brevo", state="faulty"))
            assert (await get(address, "/readyz"))[0] == 200
            assert (await get(address, "/livez"))[0] == 200

    async def test_a_database_that_is_away_at_the_start_is_not_ready(self, url, address):
        daemon = daemon_for("postgresql://nobody@127.0.0.1:1/nothing", ScriptedCrm(), metrics_listen=address, waits=QUICK)
        task = asyncio.create_task(daemon.run())
        await answered(address, "/readyz", 503)
        assert (await get(address, "/livez"))[0] == 200
        assert (await scraped(address)).value("session_up") == 0
        daemon.stop.set()
        await task

    async def test_a_worker_that_stops_is_not_ready_and_serves_until_its_end(self, app, url, address):
        crm = ScriptedCrm()
        crm.gate.clear()
        async with running(url, crm, metrics_listen=address) as daemon:
            await insert(app, "Queued")
            await crm.reached(1)
            daemon.stop.set()
            await answered(address, "/readyz", 503)
            assert (await scraped(address)).value("in_flight_contacts", crm="brevo") == 1
            crm.gate.set()

    async def test_loops_that_do_not_move_are_not_alive(self, url, address, monkeypatch):
        async with running(url, ScriptedCrm(), metrics_listen=address, waits=QUICK) as daemon:
            await answered(address, "/livez")
            with monkeypatch.context() as patched:
                patched.setattr(type(daemon), "moving", False)
                assert await answered(address, "/livez", 503) == "a loop has not run for too long\n"
            await answered(address, "/livez")


class TestAnAddressThatCannotBeHad:
    async def test_is_told_once_and_contacts_are_delivered_all_the_same(self, app, url, lines):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            async with running(url, ScriptedCrm(), metrics_listen=address, waits=QUICK):
                await insert(app, "Queued")
                await until(app, ALL_COMPLETE)
                told = await _told(lines, events.METRICS_UNAVAILABLE)
                taken.close()
                await scraped(address, lambda scrape: scrape.value("session_up"))
        assert [(line["address"], line["reason"]) for line in told] == [(address, "Address already in use")]
        assert "METRICS_LISTEN" in told[0]["note"]
        assert len(_lines(lines, events.METRICS_UNAVAILABLE)) == 1
        assert [line["address"] for line in _lines(lines, events.METRICS_SERVED)] == [address]

    async def test_of_another_machine_is_told_the_same_way(self, app, url, lines):
        async with running(url, ScriptedCrm(), metrics_listen="192.0.2.1:9464", waits=QUICK):
            await insert(app, "Queued")
            await until(app, ALL_COMPLETE)
        assert [line["address"] for line in _lines(lines, events.METRICS_UNAVAILABLE)] == ["192.0.2.1:9464"]

    async def test_a_folder_that_is_not_there_is_told_the_same_way(self, app, url, lines, tmp_path):
        path = tmp_path / "later" / "metrics.sock"
        async with running(url, ScriptedCrm(), metrics_listen=str(path), waits=QUICK):
            await insert(app, "Queued")
            await until(app, ALL_COMPLETE)
            await _told(lines, events.METRICS_UNAVAILABLE)
            path.parent.mkdir()
            await answered(str(path), "/readyz")
        assert [line["reason"] for line in _lines(lines, events.METRICS_UNAVAILABLE)] == ["No such file or directory"]

    @pytest.mark.parametrize("text", ["9464", "metrics", "example.com:9464"])
    async def test_that_is_none_is_wrong_configuration(self, url, text):
        async with process(environment(url, METRICS_LISTEN=text)) as refused:
            _, err = await refused.communicate()
        assert refused.returncode == 78
        assert "METRICS_LISTEN: expected an address and a port, such as 127.0.0.1:9464" in err.decode()


def _lines(lines, event):
    return [line for line in lines if line["event"] == event]


async def _told(lines, event):
    """Returns them when there are any."""
    async with asyncio.timeout(TIMEOUT_S):
        while not _lines(lines, event):  # noqa: ASYNC110 (a log has no events)
            await asyncio.sleep(0.01)
    return _lines(lines, event)


class TestAUnixSocket:
    async def test_is_served_to_everybody_who_may_enter_its_folder(self, url, tmp_path):
        path = tmp_path / "metrics.sock"
        async with running(url, ScriptedCrm(), metrics_listen=str(path)):
            await scraped(str(path), lambda scrape: scrape.value("session_up"))
            assert stat.S_IMODE(path.stat().st_mode) == 0o666
        assert not path.exists()

    async def test_that_a_dead_worker_left_behind_is_taken_over(self, url, tmp_path):
        path = tmp_path / "metrics.sock"
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
        async with running(url, ScriptedCrm(), metrics_listen=str(path)):
            await answered(str(path), "/readyz")

    async def test_of_a_worker_that_lives_is_not_taken_from_it(self, url, tmp_path, lines):
        path = tmp_path / "metrics.sock"
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
            other.listen()
            inode = path.stat().st_ino
            async with running(url, ScriptedCrm(), metrics_listen=str(path), waits=QUICK):
                await _told(lines, events.METRICS_UNAVAILABLE)
                assert path.stat().st_ino == inode
        assert [line["reason"] for line in _lines(lines, events.METRICS_UNAVAILABLE)] == ["Address already in use"]
        assert path.exists(), "it is the other's"

    async def test_a_file_is_not_taken_for_one(self, url, tmp_path, lines):
        path = tmp_path / "metrics.sock"
        path.write_text("somebody's")
        async with running(url, ScriptedCrm(), metrics_listen=str(path), waits=QUICK):
            await _told(lines, events.METRICS_UNAVAILABLE)
        assert path.read_text() == "somebody's"


async def test_without_the_setting_nothing_is_served_counted_or_imported(app, url):
    """A worker without metrics saves the memory of the HTTP server."""
    code = "import sys, crm_sync.daemon.process; print(sorted({'prometheus_client', 'aiohttp.web'} & sys.modules.keys()))"
    python = await asyncio.create_subprocess_exec(
        "python", "-c", code, env={"PATH": f"{Path.cwd()}/.venv/bin:/usr/bin"}, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await python.communicate()
    assert out.decode().strip() == "[]"
    taps = len(measurements._taps)
    async with running(url, ScriptedCrm()):
        await insert(app, "Queued")
        await until(app, ALL_COMPLETE)
        assert len(measurements._taps) == taps


async def test_counts_go_on_over_a_reload_that_moves_the_address(app, url, brevo, tmp_path, systemd: Systemd):
    before, after = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    setting = credentials / "METRICS_LISTEN"
    setting.write_text(before)
    env = environment(url, brevo, CREDENTIALS_DIRECTORY=str(credentials), NOTIFY_SOCKET=systemd.address)
    async with process(env) as worker:
        await systemd.told("READY=1")
        await insert(app, "Queued")
        await scraped(before, lambda scrape: scrape.total("contacts_finished_total") == 1)
        setting.write_text(after)
        worker.send_signal(1)
        await said(worker, events.CONFIGURATION_RELOADED)
        await insert(app, "Queued", "eve@example.com")
        scrape = await scraped(after, lambda scrape: scrape.total("contacts_finished_total") == 2)
        assert scrape.value("request_duration_seconds_count", crm="brevo", operation="upsert", status="2xx") == 2
        with pytest.raises(aiohttp.ClientError):
            await get(before, "/livez")


def test_the_setting_is_read_as_the_others_are():
    settings = Environment({"database_url": "postgresql://localhost/x", "metrics_listen": "[::1]:9464"}).read(Settings)
    assert str(settings.metrics_address) == "[::1]:9464"
    with pytest.raises(ConfigurationError, match="METRICS_LISTEN: expected"):
        Environment({"database_url": "postgresql://localhost/x", "metrics_listen": "::1:9464"}).read(Settings)


async def test_a_lane_that_is_down_and_why_are_told(app, url, address):
    crm = ScriptedCrm()

    def fail(_contact):
        raise RefusedError("REFUSED", "the CRM refuses the key")

    crm.answer = fail
    async with running(url, crm, metrics_listen=address, waits=QUICK):
        await insert(app, "Queued")
        scrape = await scraped(address, lambda scrape: scrape.value("lane_down_reason", crm="brevo", code="REFUSED"))
        assert scrape.value("lane_state", crm="brevo", state="delivering") == 0
        assert sum(scrape.value("lane_state", crm="brevo", state=state) for state in ("down", "probing")) == 1


@pytest.mark.parametrize("path", ["/metrics", "/livez", "/readyz"])
async def test_only_who_names_a_host_of_ours_is_answered(url, address, path):
    """A page on the internet can make its own name resolve to loopback, and a browser there send requests."""
    async with running(url, ScriptedCrm(), metrics_listen=address, metrics_hosts="worker.example.com"):
        await answered(address, "/readyz")
        async with aiohttp.ClientSession() as http:
            for host, status in (
                (address, 200),
                ("localhost:9464", 200),
                ("worker.example.com", 200),
                ("evil.example", 421),
                (f"evil.example:{address.rpartition(':')[2]}", 421),
                ("worker", 421),
            ):
                async with http.get(f"http://{address}{path}", headers={"Host": host}) as response:
                    assert (host, response.status) == (host, status)
                    assert status == 200 or "METRICS_HOSTS" in await response.text()


async def test_a_unix_socket_takes_any_name(url, tmp_path):
    async with running(url, ScriptedCrm(), metrics_listen=str(tmp_path / "metrics.sock")):
        await answered(str(tmp_path / "metrics.sock"), "/readyz")
        connector = aiohttp.UnixConnector(path=str(tmp_path / "metrics.sock"))
        async with aiohttp.ClientSession(connector=connector) as http, http.get("http://any.example/livez") as response:
            assert response.status == 200


async def test_what_is_no_request_is_not_in_the_log(url, address, caplog):
    async with running(url, ScriptedCrm(), metrics_listen=address):
        await answered(address, "/livez")
        reader, writer = await asyncio.open_connection(*address.split(":"))
        writer.write(b"GET / HTTP/1.1\r\nAuthorization : Bearer ada@example.com\r\n\r\n")
        assert b" 400 " in await reader.readline()
        writer.close()
    assert "ada@example.com" not in caplog.text
