"""The limits of a CRM account: four workers, more work than allowed, and a fake that records when each request arrives.

Requests are counted in every half-open window [t, t + seconds) of each limit, wherever it begins: never more than the limit.
Usage is the mean over all windows of that length from RAMP_UP_S after the first request on, because a worker's first chunks are
small. The cost of sharing is counted in statements: each read or write of the budget is one scan of its index.
"""

import asyncio
import statistics
import time
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from crm_sync.core.outcome import Finish, Kind, Outcome
from crm_sync.core.rate import Window, parse
from crm_sync.crm.brevo import client as brevo
from crm_sync.crm.hubspot import client as hubspot
from crm_sync.limits.rate_limit import RateLimit
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query
from crm_sync.sandbox.process import running_sandbox, settings
from crm_sync.table.contacts import Contacts
from crm_sync.table.schema import read_schema
from tests.bench.fleet import Request, fill_table, flip, requests_of, running_fleet, stats_of
from tests.bench.ours import environment, register
from tests.bench.promises import Promise, at_least, at_most, exactly, told

WORKERS = 4
RAMP_UP_S = 1.0
DELAY_MS = 20  # before each answer, which is fast for a CRM
LEAST_SHARE_PERCENT = 95.0
MOST_COST_PERCENT = 2.0
WINDOWS_SAMPLED = 2_000
TIMED = 50  # number of deliveries and statements that are timed
ACCOUNTS = {"brevo": brevo.account, "hubspot": hubspot.account}
FIELDS = {
    "brevo": {"FIRSTNAME": "first_name", "LASTNAME": "last_name", "SMS": "phone"},
    "hubspot": {"firstname": "first_name", "lastname": "last_name", "phone": "phone"},
}
STATEMENTS = "SELECT seq_scan + idx_scan FROM pg_stat_user_tables WHERE relid = 'crm_sync.budgets'::regclass"


@dataclass(frozen=True, slots=True)
class Case:
    """limits: as in the setting. enforced: the fake also has the vendor's limits, and refuses requests over them."""

    crm: str
    limits: str
    seconds: float
    contacts: int
    batch: int
    enforced: bool

    @property
    def name(self) -> str:
        return f"{self.crm} {self.limits}"


CASES = (
    Case("brevo", brevo.LIMITS["general"], 35, 1_000, 1, enforced=True),
    Case("hubspot", hubspot.LIMITS["starter"], 45, 60_000, 100, enforced=True),
    # An hour scaled down, so that the counted window is the limit, not the spaced one.
    Case("brevo", "50/s 600/20s", 65, 4_000, 1, enforced=False),
)


@dataclass(frozen=True, slots=True)
class Used:
    """For one limit. percent: mean usage; None if the run was shorter than the window."""

    window: Window
    most: int
    percent: float | None


@dataclass(frozen=True, slots=True)
class Figures:
    """statements: on the budget, per request. statement_ms: for one of them. delivery_ms: claim, request and finish."""

    requests: int
    contacts_a_request: float
    refused: int
    left: int
    used: Sequence[Used]
    statements: float
    statement_ms: float
    delivery_ms: float

    @property
    def cost_percent(self) -> float:
        return 100 * self.statements * self.statement_ms / self.delivery_ms

    def promises(self) -> list[Promise]:
        return [
            *(at_most(f"requests in any {_span(used)}", used.most, used.window.limit) for used in self.used),
            at_least("used of the limit that binds", max(used.percent or 0.0 for used in self.used), LEAST_SHARE_PERCENT, "%", 1),
            exactly("refused as too many (429)", self.refused, 0),
            at_least("contacts that still wait at the end", self.left, 1),
            told("contacts in a request", self.contacts_a_request, digits=1),
            told("statements that share the budget, for a request", self.statements, digits=2),
            told("one of them", self.statement_ms, "ms", 2),
            told("a delivery: claim, request, finish", self.delivery_ms, "ms", 1),
            at_most("what sharing costs, of a delivery", self.cost_percent, MOST_COST_PERCENT, "%", 2),
        ]


async def measure(database_url: str, case: Case) -> Figures:
    application = await fill_table(database_url, case.contacts)
    await flip(application, case.crm, 1, case.contacts)
    enforced = ("--limits",) if case.enforced else ()
    async with running_sandbox(case.crm, "--delay-ms", str(DELAY_MS), *enforced) as url:
        access = {**settings(case.crm, url), f"{case.crm.upper()}_LIMITS": case.limits}
        async with running_fleet(WORKERS, database_url, **access) as fleet:
            await asyncio.sleep(case.seconds)
            fleet.check()
            ended = time.monotonic()
            left = await application.fetchval(f"SELECT count(*) FROM contacts WHERE {case.crm}_due_at IS NOT NULL")
        requests = await requests_of(url)
        stats = await stats_of(url)
    # Their sessions have ended, so their statistics have reached the server.
    statements = await application.fetchval(STATEMENTS)
    await application.close()
    delivery_s, statement_s = await _times(database_url, case)
    refused = sum(request.status == 429 for request in requests)
    return Figures(
        requests=len(requests),
        contacts_a_request=statistics.fmean(request.contacts for request in requests),
        refused=max(refused, stats.get("limit_breaches", 0)),
        left=left,
        used=[_used(window, requests, ended) for window in parse(case.limits)],
        statements=statements / len(requests),
        statement_ms=statement_s * 1000,
        delivery_ms=delivery_s * 1000,
    )


def _used(window: Window, requests: Sequence[Request], ended: float) -> Used:
    """For the requests until `ended`, by the clock of their arrivals."""
    at = [request.at for request in requests]
    most = max(bisect_left(at, first + window.seconds) - place for place, first in enumerate(at))
    begin, end = at[0] + RAMP_UP_S, ended - window.seconds
    if begin >= end:
        return Used(window, most, None)
    starts = [begin + (end - begin) * number / WINDOWS_SAMPLED for number in range(WINDOWS_SAMPLED)]
    mean = statistics.fmean(bisect_left(at, start + window.seconds) - bisect_left(at, start) for start in starts)
    return Used(window, most, 100 * mean / window.limit)


async def _times(database_url: str, case: Case) -> tuple[float, float]:
    """Seconds of a delivery, and of a budget statement: medians, one after another, on an idle system."""
    async with running_sandbox(case.crm, "--delay-ms", str(DELAY_MS)) as url, Database(database_url, size=1) as database:
        with environment(**settings(case.crm, url)):
            account = ACCOUNTS[case.crm]()
            if account is None:
                raise RuntimeError(f"{case.crm} has no credentials")
            async with account.open(RateLimit(database, case.crm, account.windows)) as client:
                contacts = Contacts(database, (await read_schema(database)).lanes[case.crm], "email", FIELDS[case.crm])
                deliveries = []
                first = await register(database)
                for token in range(first, first + TIMED):
                    started = time.perf_counter()
                    claimed = (await contacts.claim(case.batch, token)).contacts
                    outcomes = await client.deliver(claimed)
                    if not outcomes or not all(isinstance(outcome, Outcome) for outcome in outcomes):
                        raise RuntimeError("a delivery that was to be timed failed")
                    await contacts.finish(
                        [Finish(one.id, one.token, Kind.DELIVERED, None, str(place)) for place, one in enumerate(claimed)]
                    )
                    deliveries.append(time.perf_counter() - started)
        return statistics.median(deliveries), await _statement_s(database, case.crm)


async def _statement_s(database: Database, crm: str) -> float:
    """Half of a read and the write after it."""
    times = []
    for _ in range(TIMED):
        started = time.perf_counter()
        budget = (await database.fetch(query("read_budget"), crm))[0]["budget"]
        await database.value(query("write_budget"), crm, budget, budget)
        times.append((time.perf_counter() - started) / 2)
    return statistics.median(times)


def _span(used: Used) -> str:
    share = "" if used.percent is None else f" ({used.percent:.1f} % of it used)"
    return f"{used.window.seconds:,g} s{share}"
