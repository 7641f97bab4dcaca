"""crm-sync on the machine, as an administrator installs and inspects it."""

import asyncio
import re

from tests.boot.machine import Machine
from tests.boot.tree import INSIDE, PYTHON
from tests.harness import TIMEOUT_S
from tests.process import KEY

COMMAND = f"{INSIDE}/bin/crm-sync"
UNIT = "/etc/systemd/system/crm-sync.service"
FOLDER = "/etc/crm-sync"
MAPPING = f"{FOLDER}/mapping.toml"
GOOD, OTHER = '[brevo]\nFIRSTNAME = "first_name"\n', "[brevo]\nFIRSTNAME = \"first_name || '!'\"\n"
WRONG = '[brevo]\nFIRSTNAME = "no_such_column"\n'


class Service:
    """What the tests add to the printed unit is in drop-ins, as `systemctl edit` makes them."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    async def install(self, url: str, brevo_url: str) -> None:
        # A Python that was not built for its current location does not find its own library.
        self.machine.write("/etc/ld.so.conf.d/python.conf", f"{PYTHON}/lib\n")
        await self.machine.run("ldconfig")
        printed = await self.machine.run(COMMAND, "systemd")
        assert printed.startswith("# crm-sync as a service."), "it has nothing to warn of"
        self.machine.write(UNIT, printed)
        self.machine.write(f"{FOLDER}/keys/database_url", url, mode=0o600)
        self.machine.write(f"{FOLDER}/keys/brevo_api_key", KEY, mode=0o600)
        settings = {"BREVO_BASE_URL": f"{brevo_url}/v3", "BREVO_LIMITS": "none", "MAPPING_FILE": MAPPING}
        self.machine.write(f"{FOLDER}/.env", "".join(f"{name}={value}\n" for name, value in settings.items()))
        self.machine.write(MAPPING, GOOD)
        names = ("DATABASE_URL", "BREVO_API_KEY")
        await self.edit("keys", *(f"LoadCredential={name}:{FOLDER}/keys/{name.lower()}" for name in names))

    async def set(self, name: str, value: str) -> None:
        """Adds a setting to .env."""
        path = f"{FOLDER}/.env"
        self.machine.write(path, await self.machine.run("cat", path) + f"{name}={value}\n")

    async def edit(self, name: str, *lines: str) -> None:
        self.machine.write(f"{UNIT}.d/{name}.conf", "\n".join(["[Service]", *lines, ""]))
        await self.systemctl("daemon-reload")

    async def systemctl(self, verb: str, *options: str, code: int = 0) -> str:
        return await self.machine.run("systemctl", verb, *options, *([] if verb == "daemon-reload" else ["crm-sync"]), code=code)

    async def show(self, name: str) -> str:
        return (await self.systemctl("show", "--value", f"--property={name}")).strip()

    async def shows(self, name: str, pattern: str) -> None:
        """Returns when the property matches."""
        value = ""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                while not re.fullmatch(pattern, value):
                    value = await self.show(name)
        except TimeoutError:
            raise AssertionError(f"{name} is {value!r}, never {pattern}; {await self.journal()}") from None

    async def process(self) -> int:
        """The worker's process, by the machine's numbering."""
        return int(await self.show("MainPID"))

    async def journal(self) -> str:
        return await self.machine.run("journalctl", "--unit=crm-sync", "--output=cat", "--no-pager")

    async def said(self, event: str) -> None:
        """Returns when it is in the journal."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                while event not in (journal := await self.journal()):
                    pass
        except TimeoutError:
            raise AssertionError(f"{event} was never said, but {journal}") from None
