"""Processes of tests/fork_server.py, with the methods of asyncio's processes."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import BinaryIO


class Forked:
    """A running command. Its streams are like those of an `asyncio.subprocess.Process`."""

    def __init__(self, pid: int, stdout: asyncio.StreamReader, stderr: asyncio.StreamReader, told: asyncio.StreamReader) -> None:
        self.pid = pid
        self.stdout = stdout
        self.stderr = stderr
        self.returncode: int | None = None
        self._end = asyncio.create_task(self._follow(told))

    async def _follow(self, told: asyncio.StreamReader) -> int:
        self.returncode = int(await told.read())
        return self.returncode

    async def wait(self) -> int:
        return await asyncio.shield(self._end)

    async def communicate(self) -> tuple[bytes, bytes]:
        """Its output from now on. Returns when it has ended."""
        out, err, _ = await asyncio.gather(self.stdout.read(), self.stderr.read(), self.wait())
        return out, err

    def send_signal(self, number: int) -> None:
        """Raises ProcessLookupError if it has ended."""
        if self.returncode is not None:
            raise ProcessLookupError
        os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class ForkServer:
    """Starts with the first command. One per test process."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    async def start(self, arguments: Sequence[str], env: dict[str, str]) -> Forked:
        """`crm-sync` with these arguments, and nothing else in its environment; in /, without standard input."""
        control = self._control or self._listening()
        pipes = [os.pipe() for _ in range(3)]
        try:
            # Small, so it never blocks: the socket buffers it until the server has started.
            socket.send_fds(control, [json.dumps([arguments, env]).encode()], [writing for _, writing in pipes])
        finally:
            for _, writing in pipes:
                os.close(writing)
        stdout, stderr, told = [await _reader(os.fdopen(reading, "rb", buffering=0)) for reading, _ in pipes]
        return Forked(int(await told.readline()), stdout, stderr, told)

    def _listening(self) -> socket.socket:
        # It keeps message boundaries, and shows that the other end was closed.
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.fork_server", str(theirs.fileno())],
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            )  # fmt: skip
        return self._control

    def close(self) -> None:
        if self._process is not None and self._control is not None:
            self._control.close()
            self._process.wait()
            self._process = self._control = None


async def _reader(file: BinaryIO) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), file)
    return reader
