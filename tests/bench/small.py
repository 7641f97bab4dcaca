"""A small server without a published limit: busy, and never with a long queue.

It works on PLACES requests at a time, and on each for SERVICE_MS; the others wait there. For comparison, the same is measured
with as many at a time as n8n's concurrency allows: a limit that is never reached turns the adaptation off.
"""

import asyncio
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from crm_sync.crm.n8n.client import N8n
from crm_sync.sandbox.process import running_sandbox, settings
from tests.bench.fleet import Request, fill_table, flip, requests_of, running_fleet
from tests.bench.promises import Promise, at_least, at_most, exactly, told

WORKERS = 2
PLACES = 4
SERVICE_MS = 20
CONTACTS = 15_000  # more than it can do
SETTLED_S = 15.0  # not measured
MEASURED_S = 30.0
LEAST_BUSY_PERCENT = 85.0
MOST_SLOWDOWN = 2.5


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    limits: str
    bound: bool


CASES = (Case("adaptive", "none", bound=True), Case(f"{N8n.concurrency} at a time", "100000/s", bound=False))


@dataclass(frozen=True, slots=True)
class Figures:
    """busy_percent: of its capacity. slowdown: median answer time compared with that without a queue."""

    case: Case
    busy_percent: float
    slowdown: float
    most_at_a_time: int
    failed: int

    def promises(self) -> list[Promise]:
        slowdown = "an answer's median time, to that without a queue"
        if not self.case.bound:
            return [
                told("busy", self.busy_percent, "%"),
                told(slowdown, self.slowdown, "times", 2),
                told("most requests at a time", self.most_at_a_time),
            ]
        return [
            at_least("busy", self.busy_percent, LEAST_BUSY_PERCENT, "%"),
            at_most(slowdown, self.slowdown, MOST_SLOWDOWN, "times", 2),
            told("most requests at a time", self.most_at_a_time),
            exactly("requests that failed", self.failed, 0),
        ]


async def measure(database_url: str, case: Case) -> Figures:
    application = await fill_table(database_url, CONTACTS)
    await flip(application, "n8n", 1, CONTACTS)
    async with running_sandbox("n8n", "--delay-ms", str(SERVICE_MS), "--at-a-time", str(PLACES)) as url:
        async with running_fleet(WORKERS, database_url, **settings("n8n", url), N8N_LIMITS=case.limits) as fleet:
            await asyncio.sleep(SETTLED_S + MEASURED_S)
            fleet.check()
            left = await application.fetchval("SELECT count(*) FROM contacts WHERE n8n_due_at IS NOT NULL")
        requests = await requests_of(url)
    await application.close()
    if not left:
        raise RuntimeError("there were too few contacts to keep it busy")
    began = requests[0].at + SETTLED_S
    measured = [request for request in requests if began <= request.at < began + MEASURED_S]
    return Figures(
        case=case,
        busy_percent=100 * len(measured) / MEASURED_S * SERVICE_MS / 1000 / PLACES,
        slowdown=statistics.median(request.took_s for request in measured) / (SERVICE_MS / 1000),
        most_at_a_time=_most_at_a_time(measured),
        failed=sum(request.status != 200 for request in requests),
    )


def _most_at_a_time(requests: Sequence[Request]) -> int:
    changes = sorted([(one.at, 1) for one in requests] + [(one.at + one.took_s, -1) for one in requests])
    most = now = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most
