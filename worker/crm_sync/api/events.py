"""What happened to lanes and workers, and what people did."""

from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from uuid import UUID

from crm_sync.api import showing
from crm_sync.api.lane_models import Alert, Event, EventPage
from crm_sync.api.reader import SharedReading
from crm_sync.api.tables import if_allowed
from crm_sync.core.alert import Condition
from crm_sync.errors import DeclinedError
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query
from crm_sync.reports.alert_report import alert_objects
from crm_sync.telling.event_words import OF_LANES

FOLLOWED = 200  # the latest, for followers
STORY = 12  # events of a CRM
MEANWHILE = 100  # events during the attempts of a contact
ALERTS_S = 86_400.0  # in which they ended

NONE = EventPage(events=[], next=None)


class Events:
    """Every method raises as Database.fetch does, except where a page can do without the data."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._latest = SharedReading(lambda: self._read(limit=FOLLOWED))

    def forget(self) -> None:
        """A person has just done something, and wants to see it."""
        self._latest.forget()

    async def page(self, crm: str | None, kind: str | None, *, after: str | None, limit: int) -> EventPage:
        """A page, latest first. after: the last event of the previous page. Raises DeclinedError if it is not an event."""
        return await self._read(crm, [kind] if kind else None, after=after, limit=limit)

    async def followed(self) -> list[Event]:
        """The latest, read once for all followers."""
        return (await self._latest.value()).events

    async def few(self, most: int) -> list[Event]:
        """The latest."""
        return (await if_allowed(lambda: self._read(limit=most), NONE)).events

    async def story(self, crm: str) -> list[Event]:
        """The recent events of a CRM's lane, latest first."""
        return (await if_allowed(lambda: self._read(crm, OF_LANES, limit=STORY), NONE)).events

    async def between(self, crms: Iterable[str], since: datetime) -> list[Event]:
        """The events of these CRMs' lanes since then, latest first."""
        page = await if_allowed(lambda: self._read(kinds=OF_LANES, since=since, limit=MEANWHILE), NONE)
        return [one for one in page.events if one.crm is None or one.crm in [*crms]]

    async def alerts(self) -> list[Alert]:
        """The open alerts, and those that ended within a day."""

        async def read() -> list[Alert]:
            rows = await self._database.fetch(query("list_alerts"), ALERTS_S)
            return [Alert(**one) for one in alert_objects([dict(row) for row in rows])]

        return await if_allowed(read, [])

    async def open_alerts(self) -> list[Alert]:
        """Those that stop most contacts first, and codes last, because there can be many."""
        order = [*(one.value for one in Condition if one is not Condition.NEW_CODE), Condition.NEW_CODE.value]
        found = [one for one in await self.alerts() if one.ended_at is None]
        return sorted(found, key=lambda one: (order.index(one.alert), one.crm, one.code or ""))

    async def _read(
        self,
        crm: str | None = None,
        kinds: Iterable[str] | None = None,
        *,
        after: str | None = None,
        since: datetime | None = None,
        limit: int,
    ) -> EventPage:
        at, number = (None, None) if after is None else _place(after)
        listed = None if kinds is None else [*kinds]
        rows = await self._database.fetch(query("list_events"), crm, listed, at, number, limit + 1, since)
        found = [showing.event(dict(row)) for row in rows[:limit]]
        return EventPage(events=found, next=found[-1].id if len(rows) > limit else None)


def _place(after: str) -> tuple[datetime, UUID]:
    at, _, number = after.partition("~")
    with suppress(ValueError):
        moment = datetime.fromisoformat(at)
        if moment.tzinfo is not None:
            return moment, UUID(number)
    raise DeclinedError("after: expected `next` of the page before")
