"""How long nothing happened although there was work, and how long recovery took after each fault."""

import asyncio
import statistics
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import asyncpg

from crm_sync.sandbox.process import CRMS
from tests.chaos.application import AWAY
from tests.chaos.audit import Claims
from tests.chaos.moods import MOODS
from tests.chaos.plan import Happened
from tests.chaos.stage import Stage

SAMPLE_S = 0.25
NEVER_S = 120.0  # anything later was not due to this fault
# Contacts that could be claimed now; the oldest, some of which the application may have locked.
READY = (
    "SELECT id FROM contacts "
    "WHERE {crm}_due_at <= clock_timestamp() AND {crm}_claimed_by IS NULL AND {crm}_sync_status = 'Queued' "
    "ORDER BY {crm}_due_at LIMIT 60"
)


@dataclass(slots=True)
class Silence:
    """Seconds without a request to a working CRM, although there was work. ended: seconds since 1970."""

    lasted_s: float = 0.0
    ended: float = 0.0


class Listener:
    """Looks at the table now and then, and records the longest silence of each CRM."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._since = dict.fromkeys(CRMS, time.time())
        self.longest = {crm: Silence() for crm in CRMS}
        self.lag_s = 0.0  # longest delay of this process itself

    async def run(self) -> None:
        while True:
            try:
                async with self._stage.application() as app:
                    while True:
                        for crm in CRMS:
                            self._listen(crm, await self._is_ready(app, crm))
                        await self._sleep()
            except (*AWAY, asyncpg.PostgresError):
                await self._sleep()

    async def _is_ready(self, app: asyncpg.Connection, crm: str) -> bool:
        ready = {row[0] for row in await app.fetch(READY.format(crm=crm))}
        return bool(ready - self._stage.ledger.held)

    def _listen(self, crm: str, is_ready: bool) -> None:
        sandbox, now = self._stage.crms[crm], time.time()
        if not is_ready or sandbox.mood is not None or not sandbox.listens:
            self._since[crm] = now
            return
        since = max(self._since[crm], sandbox.arrivals[-1] if sandbox.arrivals else 0.0)
        if now - since > self.longest[crm].lasted_s:
            self.longest[crm] = Silence(now - since, now)

    async def _sleep(self) -> None:
        started = time.monotonic()
        await asyncio.sleep(SAMPLE_S)
        self.lag_s = max(self.lag_s, time.monotonic() - started - SAMPLE_S)


def recoveries(
    happened: Sequence[Happened], crms: Mapping[str, Sequence[float]], claims: Claims, workers: Mapping[str, set[int]]
) -> dict[str, list[float]]:
    """By kind of fault: seconds from healing to the next sign of life of its target.

    For a CRM that is the next request to it, for a worker its next claim, for the server or the table the next claim by any
    worker for each CRM, the latest of them. crms: when requests arrived. workers: the ids of each.
    """
    began: dict[str, list[float]] = defaultdict(list)
    names = {worker: name for name, ids in workers.items() for worker in ids}
    for (crm, _), those in claims.items():
        for claim in those:
            began[names.get(claim.worker, "")].append(claim.began)
            began[f"claims for {crm}"].append(claim.began)
    for times in began.values():
        times.sort()
    found: dict[str, list[float]] = defaultdict(list)
    for fault in happened:
        if fault.kind in MOODS or fault.target in crms:
            signs = [crms[fault.target]]
        elif fault.target in began:
            signs = [began[fault.target]]
        else:
            signs = [began[f"claims for {crm}"] for crm in crms]
        found[fault.kind].append(max(_next(times, fault.healed) for times in signs))
    return found


def _next(times: Sequence[float], after: float) -> float:
    place = bisect_right(times, after)
    return min(times[place] - after, NEVER_S) if place < len(times) else 0.0


def median(values: Sequence[float]) -> float:
    return statistics.median(values) if values else 0.0
