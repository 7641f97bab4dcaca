"""A CRM goes down and comes back, with 100,000 contacts waiting: the cost to them, the CRM, the log, and another CRM.

Brevo's process is stopped, which breaks requests in flight. A replacement on its port then answers 503, like a proxy in front of
a dead server, and records the requests. An hour is scaled to a minute: the longest interval between two probes is reached within
eight seconds, and nothing changes after that. Meanwhile single contacts are flipped for n8n, the other CRM.
"""

import asyncio
import random
import time
from bisect import bisect_left
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from crm_sync import events
from crm_sync.core.outcome import Kind
from crm_sync.core.waits import USUAL
from crm_sync.sandbox.postgres import free_port
from crm_sync.sandbox.process import running_sandbox, settings
from crm_sync.sandbox.server import HOST
from tests.bench.figures import p50, p99
from tests.bench.fleet import POLL_S, Fleet, arrivals_of, fill_table, flip, flip_one, running_fleet
from tests.bench.promises import Promise, at_least, at_most, exactly, told

WORKERS = 4
DELAY_MS = 20  # of Brevo, before each answer: so that its speed, not this machine's, is the limit
WAITING = 100_000  # when it goes down
BEFORE_S = 15.0
RAMP_UP_S = 3.0  # not measured
OUTAGE_S = 60.0
AFTER_S = 25.0
MOST_A_SECOND = 16 * 1000 / DELAY_MS
CONTACTS = WAITING + int((RAMP_UP_S + BEFORE_S) * MOST_A_SECOND)
TRICKLE_S = 0.2  # between two flips for n8n, on average
TRICKLE = 2_000  # contacts available for it
FULL_SPEED = 0.9
LATEST_FULL_SPEED_S = 10.0
LEAST_JITTER = 0.5  # of the interval: a probe comes no earlier
LATEST_PROBE = 1.2  # and not much later
LATE_S = 0.25  # requests already in flight when the breaker opened are not probes
TOLERANCE_S = 0.05  # the log reports an opening a moment after it
MOST_DISTURBED = 2.0
SEED = 5
UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/html\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
ABOUT_A_CONTACT = (events.CONTACT_FAILED, events.CONTACT_REFUSED, events.CONTACTS_LOST)


@dataclass(frozen=True, slots=True)
class Figures:
    """Times in seconds, latencies in milliseconds. earliest: the shortest interval before a probe, as a share of its nominal
    interval.

    put_back: times that a contact in hand went back untouched. repeated: contacts that cost an attempt more than one.
    """

    waiting: int
    in_error: int
    most_attempts_waiting: int
    repeated: int
    unfinished: int
    put_back: int
    probes: int
    distances: Sequence[float]
    opened: int
    closed: int
    lines_about_contacts: int
    lines: int
    rate_before: float
    rate_after: float
    full_speed_s: float
    other_before: Sequence[float]
    other_during: Sequence[float]

    @property
    def earliest(self) -> float:
        intervals = [min(USUAL.first_probe_s * 2**number, USUAL.longest_probe_s) for number in range(len(self.distances))]
        shares = ((distance + TOLERANCE_S) / interval for distance, interval in zip(self.distances, intervals, strict=True))
        return min(shares, default=0.0)

    @property
    def longest(self) -> float:
        return max(self.distances, default=0.0)

    @property
    def disturbed(self) -> float:
        return p50(self.other_during) / p50(self.other_before)

    def promises(self) -> list[Promise]:
        return [
            at_least("contacts that wait when Brevo goes down", self.waiting, WAITING),
            exactly("contacts in Error", self.in_error, 0),
            exactly("attempts used by one that waits", self.most_attempts_waiting, 0),
            exactly("delivered ones with more than one attempt", self.repeated, 0),
            exactly("contacts still in flight when all workers have ended", self.unfinished, 0),
            told("contacts in hand when it went down, or in a probe, that went back untouched", self.put_back),
            told("probes in a minute, of all workers", self.probes),
            told("shortest distance between two", min(self.distances, default=0.0), "s", 2),
            told("longest distance", self.longest, "s", 2),
            at_least("distance before a probe, in shares of its interval", self.earliest, LEAST_JITTER, digits=2),
            at_most(
                "longest distance, in shares of the longest interval",
                self.longest / USUAL.longest_probe_s,
                LATEST_PROBE,
                digits=2,
            ),
            exactly(f"log lines {events.BREAKER_OPENED}", self.opened, 1),
            exactly(f"log lines {events.BREAKER_CLOSED}", self.closed, 1),
            exactly("log lines about a contact", self.lines_about_contacts, 0),
            told("log lines of the lane while Brevo was down, of all workers", self.lines),
            told("contacts a second, before", self.rate_before),
            told("contacts a second, once it is back at full speed", self.rate_after),
            at_most("from its return to 90 % of the rate before", self.full_speed_s, LATEST_FULL_SPEED_S, "s", 1),
            told("n8n, flip to arrival, before: median", p50(self.other_before), "ms", 1),
            told("n8n, before: p99", p99(self.other_before), "ms", 1),
            told("n8n, during the outage: median", p50(self.other_during), "ms", 1),
            told("n8n, during the outage: p99", p99(self.other_during), "ms", 1),
            at_most("n8n's median during the outage, times that before", self.disturbed, MOST_DISTURBED, digits=2),
        ]


@dataclass(slots=True)
class _Story:
    """What happened when, and how it was observed. Times in seconds since 1970."""

    began: float = 0.0
    down: float = 0.0
    back: float = 0.0
    waiting: int = 0
    most_attempts_waiting: int = 0
    asked: list[float] = field(default_factory=list)
    before: list[float] = field(default_factory=list)
    after: list[float] = field(default_factory=list)


async def measure(database_url: str) -> Figures:
    application = await fill_table(database_url, CONTACTS + TRICKLE)
    await flip(application, "brevo", 1, CONTACTS)
    port = free_port()
    async with running_sandbox("n8n") as n8n, AsyncExitStack() as brevo:
        url = await brevo.enter_async_context(_brevo(port))
        access = {**settings("n8n", n8n), **settings("brevo", url), "BREVO_LIMITS": "none"}
        async with running_fleet(WORKERS, database_url, **access) as fleet:
            trickle = asyncio.create_task(_trickle(database_url))
            story = await _down_and_back(application, url, brevo, fleet)
            flipped = await _stopped(trickle)
            arrived = await arrivals_of(n8n)
            await fleet.stop()
            said = fleet.said()
    final = await application.fetchrow(
        """
        SELECT
            count(*) FILTER (WHERE brevo_sync_status = 'Error') AS in_error,
            count(*) FILTER (WHERE brevo_sync_status = 'Complete' AND brevo_attempts > 1) AS repeated,
            count(*) FILTER (WHERE brevo_claimed_by IS NOT NULL) AS unfinished
        FROM contacts
        """
    )
    await application.close()
    return _figures(story, said, flipped, arrived, dict(final))


async def _down_and_back(application: asyncpg.Connection, url: str, brevo: AsyncExitStack, fleet: Fleet) -> _Story:
    """brevo: ends the process at this URL."""
    story = _Story()
    port = urlsplit(url).port or 0
    while not (arrived := await arrivals_of(url)):  # noqa: ASYNC110
        await asyncio.sleep(POLL_S)
    story.began = min(arrived.values()) + RAMP_UP_S
    await asyncio.sleep(max(0.0, story.began + BEFORE_S - time.time()))
    story.before = sorted((await arrivals_of(url)).values())
    story.down = time.time()
    await brevo.aclose()
    async with _unavailable(port, story.asked):
        story.waiting = await application.fetchval("SELECT count(*) FROM contacts WHERE brevo_due_at IS NOT NULL")
        await asyncio.sleep(OUTAGE_S)
        story.most_attempts_waiting = await application.fetchval(
            "SELECT max(brevo_attempts) FROM contacts WHERE brevo_due_at IS NOT NULL AND brevo_claimed_by IS NULL"
        )
        fleet.check()
    async with _brevo(port):
        story.back = time.time()
        await asyncio.sleep(AFTER_S)
        story.after = sorted((await arrivals_of(url)).values())
        # Before it stops, or its end would be another outage.
        await fleet.stop()
    return story


def _brevo(port: int) -> AbstractAsyncContextManager[str]:
    return running_sandbox("brevo", "--port", str(port), "--delay-ms", str(DELAY_MS))


@asynccontextmanager
async def _unavailable(port: int, asked: list[float]) -> AsyncIterator[None]:
    """Answers 503 to all, and records when."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.read(65_536):
            asked.append(time.time())
            writer.write(UNAVAILABLE)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, HOST, port)
    try:
        yield
    finally:
        server.close()
        await server.wait_closed()


async def _trickle(database_url: str) -> dict[int, float]:
    """Flips contacts for n8n now and then, until it is cancelled. Returns when each was flipped, by number."""
    chance = random.Random(SEED)
    flipped: dict[int, float] = {}
    connection = await asyncpg.connect(database_url)
    try:
        for number in range(CONTACTS + 1, CONTACTS + TRICKLE + 1):
            flipped[number] = await flip_one(connection, "n8n", number)
            await asyncio.sleep(chance.expovariate(1 / TRICKLE_S))
    except asyncio.CancelledError:
        pass
    finally:
        connection.terminate()
    return flipped


async def _stopped(trickle: asyncio.Task[dict[int, float]]) -> dict[int, float]:
    trickle.cancel()
    return await trickle


def _figures(
    story: _Story, said: Sequence[dict[str, Any]], flipped: dict[int, float], arrived: dict[int, float], final: dict[str, int]
) -> Figures:
    ours = [line for line in said if line.get("crm") == "brevo"]
    while_down = [line for line in ours if story.down <= line["at"] < story.back]
    opened = [line["at"] for line in ours if line["event"] == events.BREAKER_OPENED]
    known = opened[0] if opened else story.down
    probes = [at for at in story.asked if at > known + LATE_S]
    rate_before = _rate(story.before, story.began, story.began + BEFORE_S)
    full_speed = _full_speed(story.after, story.back, FULL_SPEED * rate_before)
    return Figures(
        waiting=story.waiting,
        most_attempts_waiting=story.most_attempts_waiting,
        **final,
        put_back=sum(line.get(Kind.DEFERRED.value, 0) for line in while_down if line["event"] == events.CONTACTS_FINISHED),
        probes=len(probes),
        distances=[after - before for before, after in zip([known, *probes], probes, strict=False)],
        opened=len(opened),
        closed=sum(line["event"] == events.BREAKER_CLOSED for line in ours),
        lines_about_contacts=sum(line["event"] in ABOUT_A_CONTACT for line in ours),
        lines=len(while_down),
        rate_before=rate_before,
        rate_after=_rate(story.after, full_speed, story.back + AFTER_S),
        full_speed_s=full_speed - story.back,
        other_before=_latencies(flipped, arrived, story.began, story.down),
        other_during=_latencies(flipped, arrived, story.down + 1, story.back - 1),
    )


def _rate(at: Sequence[float], begin: float, end: float) -> float:
    return (bisect_left(at, end) - bisect_left(at, begin)) / (end - begin)


def _full_speed(at: Sequence[float], back: float, rate: float) -> float:
    """The end of the first second in which this many arrive; the end of all, if none does."""
    full = (one + 1 for place, one in enumerate(at) if one >= back and bisect_left(at, one + 1) - place >= rate)
    return next(full, back + AFTER_S)


def _latencies(flipped: dict[int, float], arrived: dict[int, float], begin: float, end: float) -> list[float]:
    """Milliseconds from each flip in this time to its arrival. Raises RuntimeError if one has not arrived."""
    numbers = [number for number, at in flipped.items() if begin <= at < end]
    if missing := [number for number in numbers if number not in arrived]:
        raise RuntimeError(f"{len(missing)} contacts flipped for n8n did not reach it")
    return [(arrived[number] - flipped[number]) * 1000 for number in numbers]
