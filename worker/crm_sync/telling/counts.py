"""What is told of all workers together: who counts it, and what comes of it.

One worker counts, for what it costs Postgres must not grow with the workers; the others tell nothing of it. It is the one that
has the advisory lock of take_count_turn.sql: that goes with its session, so another one counts a moment later. Counted is at an
interval, never when somebody scrapes.
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

LONG_S = 0.15  # a count that takes longer is made as much less often: a hundredth of the time goes into it, at most


class LimitUse(NamedTuple):
    """A window of an account's limits: its seconds, the requests that it allows, and those that count for it now."""

    seconds: float
    requests: int
    used: int


@dataclass(frozen=True, slots=True)
class LaneCounts:
    """One CRM. contacts and tombstones: by the states of `crm_sync.telling.labels`; those that nobody has counted are left out.

    oldest_ready_s: seconds; 0 if none is ready, None if that is not known. down_code: why the CRM is not called now.
    backlog_ends_in_s: None if it is not known.
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
    """Where they come from."""

    async def read(self) -> Counted:
        """At a bounded cost, whatever the size of the table. Raises as Database.fetch does."""


class Told(NamedTuple):
    """at: by the monotonic clock. workers: that live."""

    counted: Counted
    workers: int
    at: float
    opening: int

    @property
    def age_s(self) -> float:
        return time.monotonic() - self.at


class Teller:
    """Counts, while this worker is the one to do it."""

    def __init__(self, session: Session, counts: Counts, waits: Waits = USUAL) -> None:
        self._session = session
        self._counts = counts
        self._interval_s = waits.tell_s
        self._told: Told | None = None
        self._trouble = Trouble(loop="metrics")

    @property
    def told(self) -> Told | None:
        """What was counted last. None in a worker that does not count, and from the moment that its session, and with it the
        lock, is lost.
        """
        told, session = self._told, self._session
        return told if told is not None and session.opened.is_set() and told.opening == session.openings else None

    async def run(self) -> None:
        """For as long as it runs. What keeps it from counting is in the log, once; it tries again."""
        while True:
            await self._session.opened.wait()
            began = time.monotonic()
            try:
                await self._tell()
            except ConfigurationError as error:  # a right that it lacks: no matter for the deliveries
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
