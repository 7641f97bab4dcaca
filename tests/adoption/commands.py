"""Many real `crm-sync` processes: forked from one that has everything imported, which saves a second each.

    python -m tests.adoption.commands

takes one line of JSON per process: arguments, environment, and the output file. It answers with the process id, and writes the
exit code next to that file.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

TIMEOUT_S = 30.0


class Command:
    """A running process."""

    def __init__(self, pid: int, output: Path) -> None:
        self.pid = pid
        self._output = output
        self._exit = output.with_suffix(".exit")

    @property
    def said(self) -> str:
        return self._output.read_text()

    @property
    def code(self) -> int | None:
        """As in a shell: 137 is SIGKILL. None while it runs."""
        return int(self._exit.read_text()) if self._exit.exists() else None

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def interrupt(self) -> None:
        """Control-C."""
        os.kill(self.pid, signal.SIGINT)

    def ended(self) -> int:
        deadline = time.monotonic() + TIMEOUT_S
        while self.code is None:
            assert time.monotonic() < deadline, f"it does not end: {self.said}"
            time.sleep(0.005)
        return self.code

    def says(self, words: str) -> None:
        """Returns once it has printed these words, on any number of lines."""
        deadline = time.monotonic() + TIMEOUT_S
        while words not in " ".join(self.said.split()):
            assert self.code is None, f"it ended with {self.code}: {self.said}"
            assert time.monotonic() < deadline, f"it never says {words}: {self.said}"
            time.sleep(0.005)


class Commands:
    def __init__(self, process: "subprocess.Popen[str]", folder: Path) -> None:
        self._process = process
        self._folder = folder
        self._number = 0

    def start(self, url: str, *arguments: str, **settings: str) -> Command:
        """crm-sync with these arguments, as the owner of the table at url."""
        self._number += 1
        output = self._folder / f"{self._number}.txt"
        output.touch()
        env = {"DATABASE_URL": url, "CONTACTS_TABLE": "crm.people", **settings}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([arguments, env, str(output)]) + "\n")
        self._process.stdin.flush()
        return Command(int(self._process.stdout.readline()), output)

    def run(self, url: str, *arguments: str, **settings: str) -> tuple[int, str]:
        """(exit code, output)"""
        command = self.start(url, *arguments, **settings)
        return command.ended(), command.said


@contextmanager
def commands(folder: Path) -> Iterator[Commands]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.adoption.commands"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield Commands(process, folder)
    finally:
        process.communicate(timeout=TIMEOUT_S)


def _command(arguments: Sequence[str], env: dict[str, str], output: str) -> None:
    """Becomes the command."""
    os.environ.update(env)
    file = os.open(output, os.O_WRONLY | os.O_APPEND)
    for number in (1, 2):
        os.dup2(file, number)
    os.chdir("/")
    sys.argv = ["crm-sync", *arguments]
    from crm_sync.cli import main  # noqa: PLC0415 (imported as in the command, with its environment)

    main()


def _supervise(arguments: Sequence[str], env: dict[str, str], output: str) -> None:
    """Starts the command, reports its process id, and records how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if not pid:
        _command(arguments, env, output)
        return
    print(pid, flush=True)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    path = Path(output).with_suffix(".new")
    path.write_text(str(code if code >= 0 else 128 - code))
    path.rename(path.with_suffix(".exit"))


def serve() -> None:
    for name in ("crm_sync.cli", "crm_sync.adoption.adopt", "crm_sync.commands.adopt", "crm_sync.commands.migrate"):
        import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    # Not by iterating over it: the child would inherit what is read ahead.
    while line := sys.stdin.readline():
        if not os.fork():
            _supervise(*json.loads(line))
            return


if __name__ == "__main__":
    serve()
