"""The state of each CRM. Data that many people watch is read once for all of them."""

from datetime import datetime
from json import loads
from typing import TYPE_CHECKING

from crm_sync.api import showing
from crm_sync.api.events import Events
from crm_sync.api.lane_models import CrmState, FailureCount, LimitUse, MappedField, MinuteCount, Overview, Throughput, Worker
from crm_sync.api.reader import SharedReading
from crm_sync.api.requests import Span
from crm_sync.api.tables import Tables, if_allowed, no_crm
from crm_sync.api.versions import differences
from crm_sync.configuration import Configuration
from crm_sync.core.codes import NO_CODE
from crm_sync.core.rate import Budget, parse
from crm_sync.core.text import clean
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query, render
from crm_sync.reports.status_reading import CODES, read_status
from crm_sync.table.mapping import expressions_for

if TYPE_CHECKING:
    from crm_sync.errors import ConfigurationError

MOST = 1_000  # limit for exact counts, because a page should take only a moment; beyond it, an estimate is shown
MOST_FAILED = 4_000  # contacts of a CRM that are examined for all codes together
LATEST = 8  # events on the overview
STRETCHES_S = {Span.HOUR: 60, Span.DAY: 900, Span.FORTNIGHT: 10_800}  # of which a span is shown


class Lanes:
    """Every method raises as Database.fetch does."""

    def __init__(self, configuration: Configuration, database: Database, tables: Tables, events: Events) -> None:
        self._configuration = configuration
        self._database = database
        self._tables = tables
        self._events = events
        self._overview = SharedReading(self._read_overview)
        self._failures = SharedReading(self._read_failures)
        self._throughput: dict[tuple[str, Span], SharedReading[Throughput]] = {}

    def forget(self) -> None:
        """A person has just changed something, and wants to see it."""
        for shared in (self._overview, self._failures):
            shared.forget()
        self._events.forget()

    async def overview(self) -> Overview:
        """All CRMs and workers."""
        return await self._overview.value()

    async def crm(self, crm: str) -> CrmState:
        """Raises NotFoundError."""
        crms = {one.crm: one for one in (await self.overview()).crms}
        if crm not in crms:
            raise no_crm(crm, crms)
        return crms[crm]

    async def throughput(self, crm: str, span: Span) -> Throughput:
        """Raises NotFoundError."""
        await self._tables.installed(crm)
        shared = self._throughput.setdefault((crm, span), SharedReading(lambda: self._read_throughput(crm, span)))
        return await shared.value()

    async def mapping(self, crm: str) -> list[MappedField]:
        """What is sent, field by field, as configured. Raises ConfigurationError if it cannot be determined."""
        schema = await self._tables.schema()
        known = self._configuration.default_fields(crm)
        expressions = expressions_for(crm, self._configuration.mapping, known, schema.table)
        return [MappedField(name=name, expression=expression) for name, expression in expressions.items()]

    async def failures(self) -> list[FailureCount]:
        """By CRM and code, the most recent failures first."""
        return await self._failures.value()

    async def _read_overview(self) -> Overview:
        refused: dict[str, ConfigurationError] = {}
        # One after another, so that the duration is also the cost.
        status = await read_status(self._database, refused=refused, most=MOST)
        now = await self._database.value(query("read_clock"))
        hours = await if_allowed(self._hours, dict[str, list[MinuteCount]]())
        limits = await if_allowed(self._limits, dict[str, list[LimitUse]]())
        latest = await self._events.few(LATEST)
        alerts = await self._events.open_alerts()
        applied = await if_allowed(self._applied, list[str]())
        workers = [Worker(**worker) for worker in status.workers]
        notices = differences(applied, [worker.version for worker in workers if worker.alive])
        notices += [f"{crm} cannot be counted: {clean(str(error))}" for crm, error in refused.items()]
        crms = [
            showing.crm_state(lane, hours.get(lane.crm, []), limits.get(lane.crm, []), alive=status.alive)
            for lane in status.lanes
        ]
        return Overview(read_at=now, crms=crms, workers=workers, notices=notices, events=latest, alerts=alerts)

    async def _applied(self) -> list[str]:
        return [row[0] for row in await self._database.fetch(query("list_applied_migrations"))]

    async def _hours(self) -> dict[str, list[MinuteCount]]:
        hours: dict[str, list[MinuteCount]] = {}
        for row in await self._database.fetch(query("read_hour")):
            minute = MinuteCount(minutes_ago=row["minutes_ago"], delivered=row["delivered"], failed=row["failed"])
            hours.setdefault(row["crm"], []).append(minute)
        return hours

    async def _limits(self) -> dict[str, list[LimitUse]]:
        rows = await self._database.fetch(query("read_limits"))
        now = (await self._database.value(query("read_clock"))).timestamp()
        found = {}
        for row in rows:
            windows = parse(row["limits"])
            budget = Budget.from_json(loads(row["budget"] or "{}"), windows)
            found[row["crm"]] = [
                LimitUse(seconds=window.seconds, requests=window.limit, used=budget.used(window, now)) for window in windows
            ]
        return found

    async def _read_failures(self) -> list[FailureCount]:
        seen = await if_allowed(self._codes_seen, dict[tuple[str, str], datetime]())
        found = []
        for crm, table in (await self._tables.schema()).lanes.items():
            rows = await self._database.fetch(render("count_codes", table.variables), MOST_FAILED, CODES)
            found += [showing.failure(crm, dict(row), seen.get((crm, row["code"] or NO_CODE))) for row in rows]
        return sorted(found, key=lambda one: (one.last_failed_at is not None, one.last_failed_at, one.contacts), reverse=True)

    async def _codes_seen(self) -> dict[tuple[str, str], datetime]:
        return {(row["crm"], row["code"]): row["seen_at"] for row in await self._database.fetch(query("list_codes_seen"))}

    async def _read_throughput(self, crm: str, span: Span) -> Throughput:
        seconds = STRETCHES_S[span]
        count = span.seconds // seconds
        rows = await self._database.fetch(query("read_throughput"), crm, seconds, count)
        now = await self._database.value(query("read_clock"))
        return Throughput(
            crm=crm, read_at=now, seconds=seconds, count=count, stretches=[showing.stretch(dict(row)) for row in rows]
        )
