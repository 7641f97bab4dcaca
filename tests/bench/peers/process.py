"""A peer's worker as a separate process, which reports on its standard output when things happened."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

# From wherever a worker is started, it finds `tests.bench` here.
REPOSITORY = Path(__file__).resolve().parents[3]
STOP_TIMEOUT_S = 5
ERROR_LENGTH = 2000


class WorkerError(RuntimeError):
    """A peer's worker ended or fell silent before it was done."""


class WorkerProcess:
    def __init__(self, process: asyncio.subprocess.Process, errors: IO[bytes]) -> None:
        self._process = process
        self._errors = errors

    @property
    def pid(self) -> int:
        return self._process.pid

    async def says(self, word: str, timeout_s: float) -> int:
        """Waits for the line `word nanoseconds` and returns the nanoseconds: CLOCK_MONOTONIC is one for the whole machine."""
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(timeout_s):
                async for line in self._process.stdout:
                    said, _, moment_ns = line.decode(errors="replace").partition(" ")
                    if said == word:
                        return int(moment_ns)
        except TimeoutError:
            raise WorkerError(f"the worker did not say {word!r} within {timeout_s} s: {self.complaint()}") from None
        raise WorkerError(f"the worker ended before it said {word!r}: {self.complaint()}")

    def complaint(self) -> str:
        """The end of what the worker wrote to standard error."""
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")[-ERROR_LENGTH:]

    async def stop(self) -> None:
        """Asks the process to end, then kills it. Only this one, by its own id."""
        if self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


@asynccontextmanager
async def running_worker(command: Sequence[str]) -> AsyncIterator[WorkerProcess]:
    # Errors go to a file: a pipe nobody reads would stop a talkative worker.
    with tempfile.TemporaryFile() as errors:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=REPOSITORY, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=errors
        )
        worker = WorkerProcess(process, errors)
        try:
            yield worker
        finally:
            await worker.stop()
