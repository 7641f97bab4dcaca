"""The console's unit printed by `crm-sync systemd --console`, on a real systemd."""

import asyncio

import aiohttp
import pytest

from crm_sync.sandbox.postgres import free_port
from tests.boot.service import COMMAND, FOLDER, Service
from tests.boot.test_boot import service  # noqa: F401 (a fixture)
from tests.console.running import OURS, TOKEN
from tests.harness import TIMEOUT_S
from tests.loopback import reached
from tests.tiers import root, slow

pytestmark = [slow, root]

NAME = "crm-sync-console"
UNIT = f"/etc/systemd/system/{NAME}.service"


@pytest.fixture
async def console(service: Service) -> Service:  # noqa: F811
    """Installed, but not started yet: without a token."""
    machine = service.machine
    machine.write(UNIT, await machine.run(COMMAND, "systemd", "--console"))
    machine.write(f"{UNIT}.d/keys.conf", f"[Service]\nLoadCredential=DATABASE_URL:{FOLDER}/keys/database_url\n")
    return service


async def test_it_opens_to_the_token_of_its_credential_and_tells_it_to_nobody(console):
    machine, port = console.machine, free_port()
    await console.set("CONSOLE_LISTEN", f"127.0.0.1:{port}")
    machine.write(f"{FOLDER}/keys/console_token", TOKEN, mode=0o600)
    machine.write(f"{UNIT}.d/token.conf", f"[Service]\nLoadCredential=CONSOLE_TOKEN:{FOLDER}/keys/console_token\n")
    await machine.run("systemctl", "daemon-reload")
    await machine.run("systemctl", "start", NAME)
    await reached(port)
    async with aiohttp.ClientSession() as http:
        where = f"http://127.0.0.1:{port}"
        async with http.get(f"{where}/livez") as answer:
            assert answer.status == 200
        async with http.post(f"{where}/login", data={"token": "wrong"}, headers=OURS, allow_redirects=False) as answer:
            assert answer.status == 401
        async with http.post(f"{where}/login", data={"token": TOKEN}, headers=OURS, allow_redirects=False) as answer:
            assert answer.status == 303
    journal = await machine.run("journalctl", f"--unit={NAME}", "--output=cat", "--no-pager")
    assert f"127.0.0.1:{port}" in journal
    assert TOKEN not in journal
    assert "token=" not in journal
    await machine.run("systemctl", "stop", NAME)
    assert "Result=success" in await machine.run("systemctl", "show", "--property=Result", NAME)


async def test_without_a_token_it_does_not_start_and_is_not_tried_again(console):
    machine = console.machine
    await machine.run("systemctl", "daemon-reload")
    await machine.run("systemctl", "start", NAME)
    async with asyncio.timeout(TIMEOUT_S):
        while "failed" not in (shown := await machine.run("systemctl", "show", "--property=ActiveState,NRestarts", NAME)):
            pass
    assert "NRestarts=0" in shown
    journal = await machine.run("journalctl", f"--unit={NAME}", "--output=cat", "--no-pager")
    assert "CONSOLE_TOKEN" in journal
