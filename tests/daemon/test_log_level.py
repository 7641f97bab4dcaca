"""LOG_LEVEL: a quiet worker is quiet from its first contact on, and a reload changes the level."""

import json
import signal

from tests.daemon.systemd import service
from tests.harness import ALL_COMPLETE, until
from tests.process import ended, process
from tests.steps import insert


async def test_a_quiet_worker_delivers_and_says_nothing(app, url, brevo, systemd):
    async with process(service(systemd, url, brevo, LOG_LEVEL="warning")) as worker:
        await insert(app, "Queued")
        await until(app, ALL_COMPLETE)
        worker.send_signal(signal.SIGTERM)
        code, _, err = await ended(worker)
    assert (code, err) == (0, "")


async def test_a_level_that_does_not_exist_is_refused(url, brevo, systemd):
    async with process(service(systemd, url, brevo, LOG_LEVEL="loud")) as worker:
        code, _, err = await ended(worker)
    assert code == 78
    assert "LOG_LEVEL" in err


async def test_a_reload_changes_it(app, url, brevo, systemd, tmp_path):
    credential = tmp_path / "LOG_LEVEL"
    credential.write_text("ERROR")
    async with process(service(systemd, url, brevo, CREDENTIALS_DIRECTORY=str(tmp_path))) as worker:
        await systemd.told("READY=1")
        credential.write_text("info")
        worker.send_signal(signal.SIGHUP)
        await systemd.told("RELOADING=1")
        await systemd.told("READY=1")
        worker.send_signal(signal.SIGTERM)
        code, _, err = await ended(worker)
    assert code == 0
    assert [json.loads(line)["event"] for line in err.splitlines()].count("worker_started") == 1
