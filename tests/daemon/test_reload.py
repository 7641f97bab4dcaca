"""SIGHUP: the configuration is read again, and a wrong one is refused."""

import asyncio
import json
import signal

import pytest

from crm_sync.core.waits import Waits
from crm_sync.daemon.daemon import Daemon
from crm_sync.sandbox.server import Fault, Hold
from tests.daemon.systemd import service
from tests.harness import ALL_COMPLETE, TIMEOUT_S, ScriptedCrm, account, configured, until
from tests.process import ended, process, said
from tests.roles import as_worker
from tests.steps import insert

GOOD = '[brevo]\nFIRSTNAME = "first_name"\n'


async def test_a_good_reload_takes_effect_and_costs_no_contact_an_attempt(app, url, brevo, systemd, tmp_path):
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
    [
        ("[brevo]\nFIRSTNAME = 1\n", "brevo.FIRSTNAME"),
        ('[brevo]\nFIRSTNAME = "nothing"\n', "nothing"),
        ("[brevo", "is not valid TOML"),
        ('[brevo]\nFIRSTNAME = "contacts"\n', "mapping of brevo.FIRSTNAME: it is the whole row of a table"),
    ],
)
async def test_a_wrong_mapping_is_refused_and_the_old_one_stays(app, url, brevo, systemd, tmp_path, wrong, reason):  # noqa: PLR0917
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
    assert brevo.requests[-1].body["attributes"] == {"FIRSTNAME": "Ada"}


@pytest.mark.parametrize(
    ("name", "wrong", "crm"),
    [
        ("BREVO_SYNC_MAX_RETRIES", "many", "brevo"),
        ("BREVO_BASE_URL", "http://example.com", "brevo"),
        ("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing", None),
    ],
)
async def test_a_wrong_setting_is_refused_and_the_old_one_stays(app, url, brevo, systemd, tmp_path, name, wrong, crm):  # noqa: PLR0917
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    env = service(systemd, url, brevo, CREDENTIALS_DIRECTORY=str(credentials))
    good = {"BREVO_SYNC_MAX_RETRIES": "3", "DATABASE_URL": env["DATABASE_URL"], "BREVO_BASE_URL": env["BREVO_BASE_URL"]}
    for setting, value in good.items():
        env.pop(setting, None)
        (credentials / setting).write_text(value)
    async with process(env) as worker:
        await systemd.told("READY=1")
        (credentials / name).write_text(wrong)
        worker.send_signal(signal.SIGHUP)
        refused = await said(worker, "configuration_refused")
        assert refused.get("crm") == crm
        if crm is not None:
            assert name in str(refused["reason"])
            await said(worker, "configuration_reloaded")
        await insert(app, "Queued")
        await until(app, ALL_COMPLETE)
        (credentials / name).write_text(good[name])
        worker.send_signal(signal.SIGHUP)
        await said(worker, "configuration_reloaded")
        worker.send_signal(signal.SIGTERM)
        assert (await ended(worker))[0] == 0


async def test_a_session_that_would_hear_nothing_is_refused(url, empty_url):
    crms = {"brevo": account(ScriptedCrm())}
    configuration = configured(crms, database_url=as_worker(url), listen_database_url=as_worker(empty_url))
    with pytest.raises(Exception, match=r"LISTEN_DATABASE_URL.*direct connection"):
        await Daemon(configuration, waits=Waits(listen_timeout_s=0.2)).check()


async def test_sigterm_while_a_reload_is_checked_ends_it_at_once(app, url, brevo, systemd):
    async with process(service(systemd, url, brevo)) as worker:
        await systemd.told("STATUS=delivering to brevo")
        async with app.transaction():
            # The mapping is checked against the table.
            await app.execute("LOCK TABLE contacts IN ACCESS EXCLUSIVE MODE")
            worker.send_signal(signal.SIGHUP)
            await systemd.told("RELOADING=1")
            await until(app, "EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'contacts'::regclass)")
            worker.send_signal(signal.SIGTERM)
            await systemd.told("STOPPING=1")
            code, _, err = await ended(worker)
    assert code == 0
    assert "Traceback" not in err
    assert "configuration_reloaded" not in err


async def test_sigterm_while_a_reload_drains_ends_it_with_the_time_that_was_promised(app, url, brevo, systemd):
    hold = Hold()
    brevo.next_faults.append(Fault(lambda call: True, applies=True, hold=hold))
    async with process(service(systemd, url, brevo, SHUTDOWN_GRACE_S="60")) as worker:
        await systemd.told("READY=1")
        await insert(app, "Queued")
        await asyncio.wait_for(hold.reached.wait(), TIMEOUT_S)
        worker.send_signal(signal.SIGHUP)
        await systemd.told(r"EXTEND_TIMEOUT_USEC=70000000")
        worker.send_signal(signal.SIGTERM)
        extended = await systemd.told(r"EXTEND_TIMEOUT_USEC=\d+")
        assert "STOPPING=1" in systemd.lines, "what was asked for the reload does not hold for the stop"
        assert 30e6 < int(extended.partition("=")[2]) < 70e6
        hold.release()
        code, _, err = await ended(worker)
    assert code == 0
    assert "configuration_reloaded" not in err
    assert await app.fetchval(f"SELECT {ALL_COMPLETE}")
