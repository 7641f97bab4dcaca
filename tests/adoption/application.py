"""The process of load.py, and a watch on the locks that writers wait for."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

TIMEOUT_S = 60.0
LOOK_S = 0.004


@dataclass(frozen=True)
class Wait:
    """Seconds. of_control: on a table that nothing else uses, which measures how late the machine itself is."""

    writes: int
    longest: float
    of_control: float
    over_100_ms: int
    failed: list[str]


class Load:
    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def begin(self, part: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{part}\n")
        self._process.stdin.flush()

    def end(self) -> tuple[dict[str, Wait], int]:
        """Ends it. Returns each part, and the people whose row does not have the last value written."""
        out, _ = self._process.communicate(timeout=TIMEOUT_S)
        assert self._process.returncode == 0
        told: dict[str, Any] = json.loads(out.splitlines()[-1])
        parts = {
            name: Wait(part["writes"], part["longest"], part["longest_of_control"], part["over_100_ms"], part["failed"])
            for name, part in told["parts"].items()
        }
        return parts, told["differences"]


@contextmanager
def under_load(url: str, rows: int, *, rate: float = 200, seed: int = 1) -> Iterator[Load]:
    """Writes by the time it yields. url: of the application's role."""
    arguments = [sys.executable, "-m", "tests.adoption.load", url, "--rows", rows, "--rate", rate, "--seed", seed]
    process = subprocess.Popen(list(map(str, arguments)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        yield Load(process)
    finally:
        process.kill()
        process.communicate()


LOCKS = """
    SELECT
        l.pid,
        extract(EPOCH FROM coalesce(min(l.waitstart), clock_timestamp()))::float8,
        extract(EPOCH FROM clock_timestamp())::float8
    FROM pg_locks AS l
    JOIN pg_stat_activity AS a ON l.pid = a.pid
    WHERE
        l.relation = $1::regclass
        AND a.application_name = 'crm-sync adopt'
        AND l.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
    GROUP BY l.pid
"""


class LockWatch:
    """How long each lock of an adoption that holds up writers was requested and held, by the server's clock."""

    def __init__(self, url: str, table: str) -> None:
        """url: of a role that may see locks."""
        self.longest_s = 0.0
        self.seen = 0
        self._url = url
        self._table = table
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "LockWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        since: dict[int, float] = {}
        with psycopg.connect(self._url, autocommit=True, cursor_factory=psycopg.RawCursor) as connection:
            while not self._over.wait(LOOK_S):
                rows = connection.execute(LOCKS.encode(), (self._table,)).fetchall()
                now = {pid: (min(since.get(pid, began), began), at) for pid, began, at in rows}
                self.seen += len(now.keys() - since.keys())
                since = {pid: began for pid, (began, _) in now.items()}
                self.longest_s = max([self.longest_s, *(at - began for began, at in now.values())])
