"""The receiving end of a worker's notifications to systemd."""

import asyncio
import re
import socket
from pathlib import Path

from crm_sync.sandbox.brevo.sandbox import BrevoSandbox
from tests.harness import TIMEOUT_S
from tests.process import environment


class Systemd:
    """The other end of NOTIFY_SOCKET. lines: everything received so far."""

    def __init__(self, folder: Path) -> None:
        self.address = str(folder / "notify")
        self.lines: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        self._socket.setblocking(False)

    async def told(self, pattern: str) -> str:
        """The next line that matches; earlier ones are skipped."""
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                datagram = (await asyncio.get_running_loop().sock_recv(self._socket, 4096)).decode()
                self.lines += datagram.splitlines()
                for line in datagram.splitlines():
                    if re.fullmatch(pattern, line):
                        return line

    async def silent(self, seconds: float) -> bool:
        """Whether no ping comes for this long."""
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


def service(systemd: Systemd, url: str, brevo: BrevoSandbox, **settings: str) -> dict[str, str]:
    """The environment of a worker started by systemd."""
    return environment(url, brevo, NOTIFY_SOCKET=systemd.address, **settings)
