"""Everything a worker records in the database about its work, next to its lanes and never in their way."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial

from crm_sync import log
from crm_sync.core.tally import Tally
from crm_sync.core.waits import USUAL, Waits
from crm_sync.postgres.pool import Database
from crm_sync.postgres.session import Session
from crm_sync.telling.alerts import Alerts
from crm_sync.telling.events_log import EventsLog
from crm_sync.telling.minutes import Minutes
from crm_sync.telling.snapshot import Snapshot
from crm_sync.telling.tidying import Tidying

Loop = tuple[str, Callable[[], Coroutine[None, None, None]]]


class Telling:
    """tallies: as in Minutes. days: for which history is kept. settled: as in Snapshot."""

    def __init__(
        self,
        database: Database,
        session: Session,
        tallies: Mapping[str, Tally],
        alerts: Alerts,
        *,
        days: int,
        settled: Sequence[asyncio.Event],
        waits: Waits = USUAL,
    ) -> None:
        self._minutes = Minutes(tallies, database, lambda: session.worker_id, waits)
        self._events = EventsLog(database, lambda: session.worker_id, waits)
        self._tidying = Tidying(days, database, lambda: session.worker_id, waits)
        self._snapshot = Snapshot(database, session, settled, waits)
        self._alerts = alerts
        self._opened = session.opened
        self._last_words_s = waits.last_words_s

    @property
    def loops(self) -> list[Loop]:
        """To be run in parallel, by name."""
        return [
            ("minutes", self._minutes.run),
            ("events", self._events.run),
            ("tidying", partial(self._tidying.run, self._opened)),
            ("snapshot", self._snapshot.run),
            ("alerts", self._alerts.run),
        ]

    @contextmanager
    def listening(self) -> Iterator[None]:
        """To the log, in this process."""
        with log.tapped(self._events.hear):
            yield

    async def end(self) -> None:
        """Writes everything that is left. Raises nothing."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._last_words_s):
                await self._minutes.write()
                await self._alerts.end()
                await self._events.write(all_of_them=True)
