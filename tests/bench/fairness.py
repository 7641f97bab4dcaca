"""A single flip into a backlog of 100,000 at a CRM with 10 requests a second: how long it takes, and what it costs the backlog.

The first OLDEST of the backlog are flipped in statements of OLDEST_AT_ONCE, so that their order can be told; the others are one
statement. Flips come at random times, one every EVERY_S on average, like those of people.
"""

import asyncio
import random
import time
from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from crm_sync.crm.brevo.client import LIMITS, Brevo
from crm_sync.sandbox.process import running_sandbox, settings
from tests.bench.figures import p50, p99
from tests.bench.fleet import arrivals_of, fill_table, flip, flip_one, running_fleet, stats_of
from tests.bench.promises import Promise, at_least, at_most, exactly, told

WORKERS = 2
DELAY_MS = 20  # before each answer
BACKLOG = 100_000
OLDEST, OLDEST_AT_ONCE = 4_000, 10
FLIPS = 120
EVERY_S = 2.0
RAMP_UP_S = 5.0
LAST_S = 30.0  # time for a flip to arrive
A_SECOND = 10  # requests, by the limits of a free account
LATEST_S = 2.0
LEAST_SHARE = 0.75
UNDER_WAY = Brevo.concurrency  # this many may overtake each other in flight
SEED = 5


@dataclass(frozen=True, slots=True)
class Figures:
    """latencies: seconds of each single flip, from its COMMIT to Brevo. overtaken: for the backlog, by how many flipped later."""

    latencies: Sequence[float]
    missing: int
    backlog_a_second: float
    backlog_arrived: int
    overtaken: Sequence[int]
    refused: int

    @property
    def out_of_order(self) -> int:
        return sum(one >= UNDER_WAY for one in self.overtaken)

    def promises(self) -> list[Promise]:
        return [
            told("single flips", len(self.latencies)),
            exactly("of them not arrived", self.missing, 0),
            told("flip to arrival: median", p50(self.latencies), "s", 2),
            at_most("99 % within", p99(self.latencies), LATEST_S, "s", 2),
            told("the slowest", max(self.latencies), "s", 2),
            at_least("the backlog's share of the limit", self.backlog_a_second / A_SECOND, LEAST_SHARE, digits=2),
            told("of the backlog arrived", self.backlog_arrived),
            exactly(f"of them overtaken by {UNDER_WAY} or more that were flipped later", self.out_of_order, 0),
            told("the most that overtook one", max(self.overtaken, default=0)),
            exactly("refused as too many (429)", self.refused, 0),
        ]


async def measure(database_url: str, flips: int = FLIPS) -> Figures:
    """Lasts about EVERY_S seconds per flip."""
    application = await fill_table(database_url, BACKLOG + flips)
    await _flip_backlog(application)
    async with running_sandbox("brevo", "--limits", "--delay-ms", str(DELAY_MS)) as url:
        access = {**settings("brevo", url), "BREVO_LIMITS": LIMITS["general"]}
        async with running_fleet(WORKERS, database_url, **access) as fleet:
            await asyncio.sleep(RAMP_UP_S)
            began = time.time()
            flipped = await _flip_now_and_then(application, flips)
            ended = time.time()
            arrived = await _arrived(url, flipped)
            fleet.check()
            stats = await stats_of(url)
    await application.close()
    backlog = sorted((at, number) for number, at in arrived.items() if number <= BACKLOG)
    latencies = [arrived[number] - at for number, at in flipped.items() if number in arrived]
    return Figures(
        latencies=latencies,
        missing=flips - len(latencies),
        backlog_a_second=sum(began <= at < ended for at, _ in backlog) / (ended - began),
        backlog_arrived=len(backlog),
        overtaken=_overtaken([_statement(number) for _, number in backlog]),
        refused=stats["limit_breaches"],
    )


async def _flip_backlog(application: asyncpg.Connection) -> None:
    # It is not part of the measurement, and 400 commits take a while on a disk.
    await application.execute("SET synchronous_commit = off")
    for first in range(1, OLDEST + 1, OLDEST_AT_ONCE):
        await flip(application, "brevo", first, first + OLDEST_AT_ONCE - 1)
    await application.execute("RESET synchronous_commit")
    await flip(application, "brevo", OLDEST + 1, BACKLOG)


async def _flip_now_and_then(application: asyncpg.Connection, flips: int) -> dict[int, float]:
    """When each was flipped, by number."""
    chance = random.Random(SEED)
    flipped: dict[int, float] = {}
    for number in range(BACKLOG + 1, BACKLOG + flips + 1):
        await asyncio.sleep(chance.expovariate(1 / EVERY_S))
        flipped[number] = await flip_one(application, "brevo", number)
    return flipped


async def _arrived(sandbox_url: str, flipped: dict[int, float]) -> dict[int, float]:
    """Once all flipped ones have arrived, or LAST_S have passed."""
    deadline = time.time() + LAST_S
    while True:
        arrived = await arrivals_of(sandbox_url)
        if flipped.keys() <= arrived.keys() or time.time() > deadline:
            return arrived
        await asyncio.sleep(1)


def _statement(number: int) -> int:
    """In the order of flipping."""
    return min((number - 1) // OLDEST_AT_ONCE, OLDEST // OLDEST_AT_ONCE)


def _overtaken(arrivals: Sequence[int]) -> list[int]:
    """For each of them, how many flipped later arrived before it. arrivals: the statements of flipping, in order of arrival."""
    earlier: list[int] = []
    counts = []
    for statement in arrivals:
        counts.append(len(earlier) - bisect_left(earlier, statement + 1))
        insort(earlier, statement)
    return counts
