"""A worker process whose log is kept, and the promise as the table, the CRM and the log show it."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg

from crm_sync import events
from crm_sync.sandbox import credentials
from crm_sync.sandbox.process import settings
from crm_sync.sandbox.server import Sandbox
from tests.faults.promise import said
from tests.faults.real_crms import assert_delivered
from tests.process import KEY, Process, environment, process

MOST_KB = 200 * 1024  # of a worker's memory, whatever is in the table
WRITES = ("/v3/contacts", "/batch/upsert", "/batch/update")
LINE_UP = (
    "INSERT INTO contacts (email, first_name, {crm}_sync_status) "
    "SELECT $1 || n || '@example.com', 'Ada', 'Queued' FROM generate_series(1, $2::integer) AS n"
)


class RealWorker:
    """log: everything logged so far."""

    def __init__(self, running: Process) -> None:
        self.running = running
        self.log: list[dict[str, Any]] = []

    async def opened(self) -> int:
        """Its id, once its session is open."""
        await said(self.log, events.SESSION_OPENED)
        return next(int(entry["worker"]) for entry in self.log if entry["event"] == events.SESSION_OPENED)

    def delivered(self) -> int:
        """Contacts that it has marked as delivered."""
        return sum(entry.get("delivered", 0) for entry in self.log if entry["event"] == events.CONTACTS_FINISHED)

    async def die(self) -> None:
        """SIGKILL. Returns when it is gone."""
        self.running.kill()
        await self.running.wait()

    async def listen(self) -> None:
        assert self.running.stderr is not None
        while line := await self.running.stderr.readline():
            self.log.append(json.loads(line))


@asynccontextmanager
async def working(env: dict[str, str], *, fresh: bool = False) -> AsyncIterator[RealWorker]:
    """A worker that runs until the end of the block, and is killed there. fresh: see `process`."""
    async with process(env, fresh=fresh) as running:
        worker = RealWorker(running)
        listening = asyncio.create_task(worker.listen())
        try:
            yield worker
        finally:
            with suppress(ProcessLookupError):
                running.kill()
            await listening


def peak_kb(pid: int) -> int:
    """The peak memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


def environment_for(url: str, crm: str, sandbox: Sandbox, **more: str) -> dict[str, str]:
    """For a worker that delivers only to this sandbox."""
    return environment(url) | settings(crm, sandbox.url) | more


def sends(sandbox: Sandbox) -> Counter[str]:
    """How often each address was written, as far as the CRM has answered or dropped it."""
    found: Counter[str] = Counter()
    for request in sandbox.requests:
        if request.method == "POST" and request.path.endswith(WRITES):
            found.update(one["properties"]["email"] if "properties" in one else one["email"] for one in _inputs(request.body))
    return found


def _inputs(body: Any) -> list[Any]:
    return list(body.get("inputs", [body]))


async def foreign(app: asyncpg.Connection, crm: str) -> dict[str, Any]:
    """By id: the columns of each contact that no worker writes."""
    ours = "'retry_count', 'last_retry_at', 'next_retry_at', 'last_failed_crm', 'updated_at'"
    return dict(
        await app.fetch(
            "SELECT id::text, (SELECT jsonb_object_agg(key, value) FROM jsonb_each(to_jsonb(c)) "
            f"WHERE key NOT LIKE '{crm}\\_%' AND key NOT IN ({ours})) FROM contacts AS c"
        )
    )


async def assert_kept(
    app: asyncpg.Connection, crm: str, sandbox: Sandbox, *, twice: int, attempts: int = 2, logs: Sequence[Any] = ()
) -> int:
    """All are Complete and once in the CRM, nothing is in flight, and no log contains a key or an address.

    twice: contacts that may have been sent a second time. Returns how many were.
    """
    await assert_delivered(app, crm, sandbox, attempts=attempts)
    counts = sends(sandbox)
    again = counts.total() - len(counts)
    assert max(counts.values()) <= attempts
    assert again <= twice
    for mark in ("@example.com", "Ada", KEY, credentials.BREVO_KEY, credentials.HUBSPOT_TOKEN):
        assert mark not in str(logs)
    return again
