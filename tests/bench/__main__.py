"""`make bench`: all measurements, as tables. Ratios are between figures of one run; quote those.

python -m tests.bench --only drain --repeats 5
"""

import os
import platform
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

import click
import uvloop
from rich.console import Console
from rich.table import Table

from crm_sync.core.history import History
from crm_sync.sandbox.postgres import Postgres, running_postgres
from tests.adoption.load import WRITES_A_SECOND
from tests.bench import (
    adoption,
    application,
    bare_listener,
    crms,
    fairness,
    history,
    limits,
    matching,
    ours,
    outage,
    small,
    status,
    steadiness,
    steps,
    written,
)
from tests.bench.figures import medians, p50, p99, shown
from tests.bench.peers import peer_graphile
from tests.bench.peers.roster import PEERS
from tests.bench.promises import Promise, at_least, broken, told
from tests.bench.sink import Sink, running_sink

BARE = "the same statements in a bare loop"
SCENARIOS = (
    "drain",
    "metrics",
    "latency",
    "steps",
    "crms",
    "written",
    "history",
    "application",
    "snapshot",
    "growth",
    "idle",
    "backfill",
    "limits",
    "small",
    "outage",
    "fairness",
    "adoption",
    "match",
    "status",
)
LEAST_WITH_METRICS = 0.97
WAITING = (10_000, 1_000_000)

Result = TypeVar("Result")
Drain = Callable[..., Awaitable[float]]
Latency = Callable[..., Awaitable[list[float]]]


class Bench:
    """Runs scenarios on one server, and keeps the rows of the final table."""

    def __init__(self, server: Postgres, console: Console, *, repeats: int, rounds: int, seconds: int) -> None:
        self._server = server
        self._repeats = repeats
        self._rounds = rounds
        self._seconds = seconds
        self._console = console
        self._absent = {peer.name: reason for peer in PEERS if (reason := peer.unavailable())}
        self.broken: list[str] = []

    def drain(self) -> None:
        """20,000 contacts or jobs, handled without doing anything."""
        systems: dict[str, Drain] = {ours.NAME: ours.drain, BARE: ours.drain_bare}
        systems |= {f"{peer.name} {peer.version()}": peer.drain for peer in PEERS if peer.name not in self._absent}
        rates: dict[str, list[float]] = {name: [] for name in systems}
        for _ in range(self._repeats):
            for name, measure in systems.items():
                rates[name].append(self._in_fresh_database(measure))
        own = statistics.median(rates[ours.NAME])
        rows = {name: (f"{shown(m)}", f"{own / m:.2f}") for name, values in rates.items() for m in [statistics.median(values)]}
        self._show("drain of 20,000, no-op CRM", ("a second", "crm-sync is x times"), rows)
        self._tell_absent()

    def metrics(self) -> None:
        """The same drain with metrics and without, alternating, so that both meet the same machine."""
        cases = {"without": ours.drain, "with": ours.drain_with_metrics}
        rates: dict[str, list[float]] = {name: [] for name in cases}
        for _ in range(2 * self._repeats):
            for name, measure in cases.items():
                rates[name].append(self._in_fresh_database(measure))
        share = statistics.median(rates["with"]) / statistics.median(rates["without"])
        figures = [told(f"contacts a second, {name}", statistics.median(values)) for name, values in rates.items()]
        self._show_promises(
            "drain of 20,000 with metrics", [*figures, at_least("of without", share, LEAST_WITH_METRICS, digits=2)]
        )

    def latency(self) -> None:
        """From COMMIT to the request at the CRM's socket, on an idle system."""
        systems: dict[str, Latency] = {bare_listener.NAME: bare_listener.latency, ours.NAME: ours.latency}
        systems |= {f"{peer.name} {peer.version()}": peer.latency for peer in PEERS if peer.name not in self._absent}
        samples: dict[str, list[list[float]]] = {name: [] for name in systems}
        for _ in range(self._repeats):
            for name, measure in systems.items():
                samples[name].append(self._in_fresh_database(lambda url, measure=measure: _with_sink(measure, url)))
        rows = {
            name: (
                shown(statistics.median(map(p50, values))),
                shown(statistics.median(map(p99, values))),
                # From the same repeat, because the machine is different in another one.
                f"{statistics.median(p50(own) / p50(limit) for own, limit in zip(values, limits, strict=True)):.2f}",
            )
            for limits in [samples[bare_listener.NAME]]
            for name, values in samples.items()
        }
        self._show("commit to request, idle", ("p50, ms", "p99, ms", "p50, x the limit"), rows)
        self._tell_absent()

    def steps(self) -> None:
        """Where that time goes."""
        own, limit = [], []
        for _ in range(self._repeats):
            limit.append(self._in_fresh_database(lambda url: _with_sink(steps.of_the_limit, url)))
            own.append(self._in_fresh_database(lambda url: _with_sink(steps.of_ours, url)))
        self._show("a single contact, step by step", ("crm-sync, ms", "the limit, ms"), steps.rows(medians(own), medians(limit)))

    def crms(self) -> None:
        """From a flip to each sandbox, next to a plain loop over the vendor's SDK."""
        for delay_ms in crms.WITH_SDK:
            own: dict[str, list[float]] = {crm: [] for crm in crms.CONTACTS}
            loops: dict[str, list[float]] = {crm: [] for crm in crms.SDKS}
            for _ in range(self._repeats):
                for crm, rates in own.items():
                    rates.append(self._in_fresh_database(lambda url, crm=crm, ms=delay_ms: crms.ours(url, crm, ms)))
                    if crm in loops:
                        loops[crm].append(self._in_fresh_database(lambda url, crm=crm, ms=delay_ms: crms.sdk_loop(url, crm, ms)))
            rows = {}
            for crm, rates in own.items():
                rate = statistics.median(rates)
                loop = statistics.median(loops[crm]) if crm in loops else None
                rows[crm] = (shown(rate), "-" if loop is None else shown(loop), "-" if loop is None else f"{rate / loop:.1f}")
            title = f"contacts a second, end to end; a CRM that answers after {delay_ms} ms"
            self._show(title, ("crm-sync", "loop over the SDK", "x times"), rows)

    def written(self) -> None:
        """What a flip and a delivery write. Counted, on a server without full-page images. Once."""
        rows: dict[str, list[str]] = {}
        with running_postgres(options={"full_page_writes": "off"}) as server:
            for further in written.CASES:
                url = server.create_database(f"written_{further}")
                uvloop.run(ours.fill(url, written.CONTACTS))
                for what, figure in uvloop.run(written.measure(server, url, further)).rows():
                    rows.setdefault(what, []).append(figure)
        columns = [f"{further or 'no'} further indexes" for further in written.CASES]
        self._show(f"written by {written.CONTACTS:,} contacts, a uuid key", columns, rows)

    def history(self) -> None:
        """What a line of every outcome costs."""
        drains: dict[History, list[float]] = {mode: [] for mode in (History.OFF, History.ALL, History.FAILURES)}
        latencies: dict[History, list[list[float]]] = {mode: [] for mode in (History.OFF, History.ALL)}
        for number in range(history.ROUNDS):
            # Each comes first in some rounds.
            for mode in [*drains][number % len(drains) :] + [*drains][: number % len(drains)]:
                drains[mode].append(self._in_fresh_database(lambda url, mode=mode: ours.drain(url, HISTORY=mode)))
        for _ in range(self._repeats):
            for mode, samples in latencies.items():
                samples.append(
                    self._in_fresh_database(
                        lambda url, mode=mode: _with_sink(lambda url, sink: ours.latency(url, sink, HISTORY=mode), url)
                    )
                )
        self._show_promises("what history costs", history.Figures(drains, latencies).promises())

    def application(self) -> None:
        """What the application pays for a flip, and what it would pay for alternatives."""
        cases = [case for case in application.CASES if not (case.peer and peer_graphile.NAME in self._absent)]
        for further in application.TABLES:
            runs = uvloop.run(application.flips_per_second(self._server, cases, further, self._rounds, self._seconds))
            rows = {
                name: (
                    shown(statistics.median(run[name] for run in runs)),
                    *(
                        f"{statistics.median(run[name] / run[other] for run in runs):.2f}"
                        for other in (application.BEFORE, "crm-sync")
                    ),
                )
                for name in runs[0]
            }
            title = f"single-row flips by {application.CLIENTS} clients, {further or 'no'} further indexes"
            self._show(title, ("commits/s", f"of {application.BEFORE}", "of crm-sync"), rows)
        self._tell_absent()

    def snapshot(self) -> None:
        """A drain of 100,000 during a long report."""
        runs = [self._in_fresh_database(steadiness.under_snapshot) for _ in range(self._repeats)]
        first, last = (statistics.median(run[part] for run in runs) for part in ("first", "last"))
        ratio = statistics.median(run["last"] / run["first"] for run in runs)
        rows = {"first 10,000": (shown(first), ""), "last 10,000": (shown(last), f"{ratio:.2f}")}
        self._show("drain of 100,000, a snapshot held open", ("a second", "of the first"), rows)

    def growth(self) -> None:
        """Pages touched by a claim, with little and with much waiting."""
        few, many = (self._in_fresh_database(lambda url, n=n: steadiness.pages_per_claimed_row(url, n)) for n in WAITING)
        rows = {f"{WAITING[0]:,} waiting": (f"{few:.1f}", ""), f"{WAITING[1]:,} waiting": (f"{many:.1f}", f"{many / few:.2f}")}
        self._show("a claim of 100", ("pages a row", "x times"), rows)

    def idle(self) -> None:
        """What an idle worker sends."""
        with running_postgres(options={"log_statement": "all", "log_line_prefix": "%a|"}) as server:
            url = server.create_database("idle")
            count = uvloop.run(steadiness.statements_while_idle(url, server.folder / "log"))
        self._show("an idle worker for 30 s, five ticks", ("statements",), {"the ticks', and those of alerts": (str(count),)})

    def backfill(self) -> None:
        """A million contacts by one UPDATE. Once."""
        self._show_promises("a million contacts, no-op CRM", self._in_fresh_database(steadiness.backfill).promises())

    def limits(self) -> None:
        """Whether the limits of an account hold across four workers, and how much of them is used. Once."""
        for case in limits.CASES:
            figures = self._in_fresh_database(lambda url, case=case: limits.measure(url, case))
            self._show_promises(f"{limits.WORKERS} workers for {case.seconds:g} s, {case.name}", figures.promises())

    def small(self) -> None:
        """What a small server without limits gets, compared with no adaptive concurrency. Once each."""
        for case in small.CASES:
            figures = self._in_fresh_database(lambda url, case=case: small.measure(url, case))
            server = f"n8n that does {small.PLACES} things at a time in {small.SERVICE_MS} ms each"
            self._show_promises(f"{small.WORKERS} workers, {server}, {case.name}", figures.promises())

    def outage(self) -> None:
        """The cost of a CRM that goes down and comes back. Once."""
        figures = self._in_fresh_database(outage.measure)
        self._show_promises(f"{outage.WORKERS} workers, Brevo down for {outage.OUTAGE_S:g} s", figures.promises())

    def fairness(self) -> None:
        """How long a single flip takes into a backlog. Once."""
        figures = self._in_fresh_database(fairness.measure)
        title = f"{fairness.WORKERS} workers, single flips into {fairness.BACKLOG:,} at {fairness.A_SECOND} a second"
        self._show_promises(title, figures.promises())

    def adoption(self) -> None:
        """How long a writer waits while the table is adopted. Once."""
        figures = adoption.measure(self._server)
        title = f"{adoption.ROWS:,} rows, {WRITES_A_SECOND} writes a second"
        self._show_promises(title, figures.promises())

    def match(self) -> None:
        """The cost of finding the records of a large table. Once."""
        self._show_promises(f"crm-sync match, {matching.ROWS:,} rows", self._in_fresh_database(matching.measure).promises())

    def status(self) -> None:
        """What `crm-sync status` costs, however large the table is. Once."""
        self._show_promises(f"crm-sync status, {status.READY:,} in line", status.measure(self._server).promises())

    def _in_fresh_database(self, measure: Callable[[str], Awaitable[Result]]) -> Result:
        url = self._server.create_database("bench")
        try:
            return uvloop.run(_awaited(measure, url))
        finally:
            self._server.drop_database("bench")

    def _show_promises(self, title: str, promises: Sequence[Promise]) -> None:
        rows = {
            promise.what: (promise.figure, promise.bound if promise.held else f"NOT HELD: {promise.bound}")
            for promise in promises
        }
        self._show(title, ("measured", "promised"), rows)
        self.broken += [f"{title}: {one}" for one in broken(promises)]

    def _show(self, title: str, columns: tuple[str, ...], rows: Mapping[str, tuple[str, ...]]) -> None:
        table = Table(title_justify="left")
        table.add_column(title)
        for column in columns:
            table.add_column(column, justify="right")
        for name, cells in rows.items():
            table.add_row(name, *cells)
        self._console.print(table)

    def _tell_absent(self) -> None:
        for name, reason in self._absent.items():
            self._console.print(f"not measured: {name}: {reason}", markup=False)


async def _awaited(measure: Callable[[str], Awaitable[Result]], url: str) -> Result:
    return await measure(url)


async def _with_sink(measure: Callable[[str, Sink], Awaitable[Result]], url: str) -> Result:
    async with running_sink() as sink:
        return await measure(url, sink)


@click.command()
@click.option(
    "--repeats",
    default=3,
    show_default=True,
    help="Times each figure is taken, in turn; medians are shown. What has a bound runs once.",
)
@click.option(
    "--rounds", default=application.ROUNDS, show_default=True, help="Of what the application pays: rounds of all cases."
)
@click.option("--seconds", default=application.SECONDS, show_default=True, help="Length of such a round.")
@click.option("--only", type=click.Choice(SCENARIOS), multiple=True, help="Measure this alone.")
def main(*, repeats: int, rounds: int, seconds: int, only: tuple[str, ...]) -> None:
    """Measures crm-sync next to other Postgres queues, on an embedded PostgreSQL with fsync on. Returns 1 if a promise is not
    kept.
    """
    console = Console(width=110)
    started = time.monotonic()
    with running_postgres() as server:
        console.print(
            f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, PostgreSQL 18, "
            f"fsync on, medians of {repeats}"
        )
        bench = Bench(server, console, repeats=repeats, rounds=rounds, seconds=seconds)
        for scenario in only or SCENARIOS:
            getattr(bench, scenario)()
    console.print(f"{time.monotonic() - started:.0f} s")
    for promise in bench.broken:
        console.print(f"not held: {promise}", markup=False)
    sys.exit(1 if bench.broken else 0)


if __name__ == "__main__":
    main()
