"""The breaker of a lane: whether its CRM may be called. All workers share it through the lane's row.

Calls are stopped by the circuit breaker (`crm_sync.core.breaker`) or by a person (`crm-sync pause`). Every change is a
compare-and-set on the row, and notifies all workers, so that they put back what they have in hand. A worker that missed the
notification sees the change when it looks at the line, and every claim checks the row itself.
"""

import math
import random
import time
from collections.abc import Callable

import asyncpg
import structlog

from crm_sync import events
from crm_sync.core.breaker import Breaker, State
from crm_sync.core.waits import USUAL, Waits
from crm_sync.errors import ConfigurationError
from crm_sync.measurements import Throttled, measure
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query

log = structlog.get_logger()


class LaneBreaker:
    """on_open is called when this worker learns that the CRM has recovered, on_shut when it must not be called, for any new
    reason.
    """

    def __init__(
        self,
        crm: str,
        database: Database,
        *,
        on_open: Callable[[], None],
        on_shut: Callable[[], None],
        waits: Waits = USUAL,
    ) -> None:
        self._crm = crm
        self._database = database
        self._on_open = on_open
        self._on_shut = on_shut
        self._waits = waits
        self._log = log.bind(crm=crm)
        self._breaker = Breaker()
        self._held = False
        self.revision = -1  # of the row as last read
        self.account: str | None = None  # the one that the ids in the rows belong to, as last read
        self._probe_at = 0.0  # by the monotonic clock
        self._probe_until: float | None = None
        self._our_probe: int | None = None  # the revision that gave us the probe
        self._probe_token: int | None = None

    @property
    def open(self) -> bool:
        """Whether contacts may be claimed: the CRM is well, or this worker is the one to probe it."""
        return not self._held and (self._breaker.closed or self.probing)

    def probe_with(self, token: int) -> None:
        """The contact claimed with this token is the probe."""
        self._probe_token = token

    def is_probe(self, token: int) -> bool:
        return self.probing and token == self._probe_token

    def admits(self, token: int) -> bool:
        """Whether contacts claimed with this token may be sent. Contacts in hand when the CRM went down are not probes."""
        return not self._held and (self._breaker.closed or self.is_probe(token))

    @property
    def probing(self) -> bool:
        return self._probe_until is not None and time.monotonic() < self._probe_until

    @property
    def wait_s(self) -> float:
        """Seconds until it is worth asking for the probe; 0 if it is open."""
        if self._held:
            return self._waits.paused_look_s
        return 0.0 if self.open else max(0.0, self._probe_at - time.monotonic())

    async def read(self) -> None:
        """Raises as Database.fetch does."""
        row = await self._row()
        self._learn(_breaker(row), row["revision"], row["now"], held=row["held"])
        if row["revision"] == self._our_probe and self._probe_until is None:
            await self.give_back()  # we lost our session

    def lost(self) -> None:
        """The session was lost; what we were about to probe with goes back."""
        self._probe_until = None

    # Changes. All raise as Database.fetch does.

    async def start_probe(self) -> bool:
        """Whether this worker is the one to probe."""
        return await self._change(lambda breaker, now: breaker.probed(now, self._waits)) is not None

    async def give_back(self) -> None:
        """There was nothing to probe with."""
        await self._change(lambda breaker, now: breaker.given_back(now, self._waits))

    async def answered(self) -> None:
        """The CRM has answered the probe."""
        before = await self._change(lambda breaker, now: breaker.answered(now))
        if before is not None:
            self._log.info(events.BREAKER_CLOSED, was=before.reason)

    async def failed(self, code: str, reason: str, *, refused: bool, probe: bool) -> None:
        """The CRM is down, or refuses every contact. probe: whether the probe found that."""
        chance = random.random()  # noqa: S311 (jitter is no secret)
        before = await self._change(
            lambda breaker, now: breaker.failed(now, chance, f"{code}: {reason}", refused=refused, probe=probe, waits=self._waits)
        )
        if before is not None and (before.closed or not before.openings):
            self._log.error(events.BREAKER_OPENED, code=code, reason=reason)

    async def throttled(self, code: str, reason: str, pause_s: float) -> None:
        """The CRM said "too many requests"."""
        measure(Throttled(self._crm))
        before = await self._change(lambda breaker, now: breaker.throttled(now, pause_s, f"{code}: {reason}"))
        if before is not None and before.closed:
            self._log.warning(events.LANE_PAUSED, code=code, reason=reason, pause_s=round(pause_s, 1))

    async def _change(self, transition: Callable[[Breaker, float], Breaker | None]) -> Breaker | None:
        """Applies the transition to the row. Returns the previous breaker, or None if there was nothing to change."""
        while True:
            row = await self._row()
            before = _breaker(row)
            after = transition(before, row["now"])
            if after is None or after == before:
                self._learn(before, row["revision"], row["now"], held=row["held"])
                return None
            arguments = (after.state, after.since, after.reason, after.next_probe, after.openings)
            revision = await self._database.value(query("change_breaker"), self._crm, row["revision"], *arguments)
            if revision is not None:
                self._learn(after, revision, row["now"], held=row["held"], ours=True)
                return before

    async def _row(self) -> asyncpg.Record:
        rows = await self._database.fetch(query("read_breaker"), self._crm)
        if not rows:
            raise ConfigurationError(
                f"{self._crm} is not installed on the contacts table: run `crm-sync adopt --crm {self._crm}`"
            )
        self.account = rows[0]["account"]
        return rows[0]

    def _learn(self, breaker: Breaker, revision: int, now: float, *, held: bool, ours: bool = False) -> None:
        if revision < self.revision:
            return  # what was read before is stale
        # Our own change may have been read before we are told that it was made.
        changed = revision != self.revision or ours
        was_well = self._breaker.closed and not self._held
        if changed:
            wait_s = math.inf if breaker.next_probe is None else breaker.next_probe - now
            self._probe_at = time.monotonic() + wait_s
            is_our_probe = ours and breaker.state is State.HALF_OPEN
            self._probe_until, self._our_probe = (self._probe_at, revision) if is_our_probe else (None, None)
        self._breaker, self._held, self.revision = breaker, held, revision
        if changed and not self.open:
            self._on_shut()
        elif breaker.closed and not was_well:
            self._on_open()


def _breaker(row: asyncpg.Record) -> Breaker:
    return Breaker(State(row["breaker"]), row["since"], row["reason"], row["next_probe"], row["openings"])
