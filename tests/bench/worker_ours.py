"""Our daemon as a separate process, with a client that does nothing, or hangs. Everything else is real.

python -m tests.bench.worker_ours noop JOBS     reports the first and the last contact handled
python -m tests.bench.worker_ours paused        fills its capacity and never answers: awake and busy
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import uvloop

from crm_sync import log
from crm_sync.configuration import load
from crm_sync.core.outcome import Contact, Outcome
from crm_sync.crm.account import Account
from crm_sync.crm.client import Client
from crm_sync.crm.limiter import Limiter
from crm_sync.crm.registry import Crm
from crm_sync.daemon.process import serve
from tests.bench.peers.telling import Counter, limit_lifetime, tell

BATCH = 500


class Noop(Client):
    """A CRM that accepts everything at once. Each contact gets its own id, as from a real one."""

    batch_limit = BATCH
    concurrency = 2

    def __init__(self, jobs: int) -> None:
        self._counter = Counter(jobs)

    async def deliver(self, contacts: Sequence[Contact]) -> Sequence[Outcome]:
        for _ in contacts:
            self._counter.handle()
        return [Outcome.delivered(contact.remote_id or str(contact.token)) for contact in contacts]

    async def check(self) -> str:
        return "no-op"


class Hanging(Noop):
    """A lane at capacity: the worker is awake, as during a backlog."""

    batch_limit = 1

    async def deliver(self, contacts: Sequence[Contact]) -> Sequence[Outcome]:
        tell("busy")
        return await asyncio.get_running_loop().create_future()


def main() -> None:
    limit_lifetime()
    log.configure()
    client: Client = Hanging(0) if sys.argv[1] == "paused" else Noop(int(sys.argv[2]))

    @asynccontextmanager
    async def open_client(_limiter: Limiter) -> AsyncIterator[Client]:
        yield client

    os.environ["BREVO_SYNC_SCHEDULER_BATCH_SIZE"] = str(BATCH)
    fields = {"FIRSTNAME": "first_name", "LASTNAME": "last_name", "SMS": "phone"}
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(load(lambda: {"brevo": Crm("brevo", lambda: Account(fields, open_client))})))


if __name__ == "__main__":
    main()
