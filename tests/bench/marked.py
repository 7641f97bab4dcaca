"""A worker that notes when each step of its deliveries begins, for `tests.bench.steps`: crm-sync, or the bare listener.

python -m tests.bench.marked FILE ours
python -m tests.bench.marked FILE bare DATABASE_URL SINK_URL
"""

import asyncio
import atexit
import functools
import json
import runpy
import signal
import sys
import time
from pathlib import Path
from typing import Any

from aiohttp.http_writer import StreamWriter
from asyncpg.prepared_stmt import PreparedStatement

from crm_sync.crm.connections import Connections
from crm_sync.postgres.ear import Ear
from crm_sync.postgres.pool import Database

# What is called when a step begins, and the step that begins when that returns.
OURS = (
    (Ear, "_when_notified", "notified", ""),
    (Database, "fetch_briefly", "claim sent", "claimed"),
    (Connections, "send", "request made", ""),
    (StreamWriter, "_writelines", "written", ""),
)
BARE = (
    (asyncio.Event, "set", "notified", ""),
    (PreparedStatement, "fetchval", "claim sent", "claimed"),
    (asyncio.StreamWriter, "write", "written", ""),
)
MODULES = {"ours": "tests.bench.run_telling", "bare": "tests.bench.bare_listener"}

marks: list[tuple[str, int]] = []


def note(step: str) -> None:
    if step:
        marks.append((step, time.perf_counter_ns()))


def mark(owner: type, name: str, begins: str, returns: str) -> None:
    """From now on, calls of this method are noted."""
    method = getattr(owner, name)

    @functools.wraps(method)
    def call(*arguments: Any, **named: Any) -> Any:
        note(begins)
        return method(*arguments, **named)

    @functools.wraps(method)
    async def wait(*arguments: Any, **named: Any) -> Any:
        note(begins)
        result = await method(*arguments, **named)
        note(returns)
        return result

    setattr(owner, name, wait if returns else call)


def main() -> None:
    file, system, *arguments = sys.argv[1:]
    for one in OURS if system == "ours" else BARE:
        mark(*one)
    atexit.register(lambda: Path(file).write_text(json.dumps(marks), encoding="utf-8"))
    if system == "bare":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    sys.argv = [MODULES[system], *arguments]
    runpy.run_module(MODULES[system], run_name="__main__")


if __name__ == "__main__":
    main()
