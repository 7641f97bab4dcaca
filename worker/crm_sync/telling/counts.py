"""Metrics of all workers together: which worker counts them, and the results.

One worker counts, because the cost to Postgres must not grow with the number of workers; the others report none of these metrics.
It is the one that holds the advisory lock of take_count_turn.sql, which is released with its session, so that another worker
takes over a moment later. Counting happens at an interval, never during a scrape.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from crm_sync.core.waits import USUAL, Waits
from crm_sync.errors import ConfigurationError, CrmSyncError
from crm_sync.log import Trouble
from crm_sync.postgres.locks import METRICS
from crm_sync.postgres.session import Session

LONG_S = 0.15  # a count that takes longer than this runs less often, so that it takes at most a hundredth of the time


class LimitUse(NamedTuple):
    """A window of an account's limits: its seconds, the requests it allows, and those that count towards it now."""

    seconds: float
    requests: int
    used: int


@dataclass(frozen=True, slots=True)
class LaneCounts:
    """One CRM. contacts and tombstones: by the states of `crm_sync.telling.labels`; uncounted states are left out.

    oldest_ready_s: seconds; 0 if none is ready, None if unknown. down_code: why the CRM is not called now. backlog_ends_in_s:
    None if unknown.
    """

    state: str
    down_code: str | None = None
    contacts: Mapping[str, int] = field(default_factory=dict)
    oldest_ready_s: float | None = None
    backlog_ends_in_s: float | None = None
    limits: Sequence[LimitUse] = ()
    tombstones: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Counted:
    """By CRM."""

    lanes: Mapping[str, LaneCounts]


class Counts(Protocol):
    """The source of the counts."""

    async def read(self) -> Counted:
        """At a bounded cost, whatever the size of the table. Raises as Database.fetch does."""


class Told(NamedTuple):
    """at: by the monotonic clock. workers: number of living ones."""

    counted: Counted
    workers: int
    at: float
    opening: int

    @property
    def age_s(self) -> float:
        return time.monotonic() - self.at


class Teller:
    """Counts, while it is this worker's turn."""

    def __init__(self, session: Session, counts: Counts, waits: Waits = USUAL) -> None:
        self._session = session
        self._counts = counts
        self._interval_s = waits.tell_s
        self._told: Told | None = None
        self._trouble = Trouble(loop="metrics")

    @property
    def told(self) -> Told | None:
        """The last counts. None in a worker that does not count, and as soon as its session is lost, and with it the lock."""
        told, session = self._told, self._session
        return told if told is not None and session.opened.is_set() and told.opening == session.openings else None

    async def run(self) -> None:
        """Runs forever. An error that keeps it from counting is logged once, and retried."""
        while True:
            await self._session.opened.wait()
            began = time.monotonic()
            try:
                await self._tell()
            except ConfigurationError as error:  # a missing right, which does not affect deliveries
                self._told = None
                self._trouble.tell(error)
            except CrmSyncError as error:
                self._trouble.tell(error)
            else:
                self._trouble.over()
            await asyncio.sleep(self._interval_s * max(1.0, (time.monotonic() - began) / LONG_S))

    async def _tell(self) -> None:
        opening = self._session.openings
        if not await self._session.may_count(METRICS):
            self._told = None
            return
        counted = await self._counts.read()
        self._told = Told(counted, self._session.alive, time.monotonic(), opening)
