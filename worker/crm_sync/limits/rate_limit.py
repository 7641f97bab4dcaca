"""The rate limit of one CRM account: when its requests may start, shared by all workers through the database.

One row holds the account's usage. A worker reads it, calculates how many slots it may take (`crm_sync.core.rate`), and writes it
back unless another worker has done so meanwhile. It takes several slots at a time, so that a request costs a fraction of a
statement. The lane asks for slots before it claims, so that contacts in hand do not wait for their turn.

A slot can be used once it is written, so it must not be over by then: none is taken that is nearer than the database needs to
answer both statements. Otherwise a worker far from its database would miss every slot, and use up the limit without a request.
"""

import asyncio
import json
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress

from crm_sync.core.rate import Budget, Remaining, Window, correct, take
from crm_sync.errors import DatabaseTroubleError, HeldBackError
from crm_sync.log import Trouble
from crm_sync.measurements import Limited, measure
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query

AHEAD_S = 5.0  # a slot later than this is not taken
LONGEST_LEAD_S = 2.5  # half of AHEAD_S, so that slots are found however slowly the database answers
CHUNK_S = 0.5  # this much work is taken at once, while all of it gets used
SHORTEST_INTERVAL_S = 0.001  # if only a long window limits, the chunk is not larger than for this interval
LEAD_S = 0.01  # before a slot: a claim takes about as long
LATE_S = 0.01  # after a slot: a request that starts later than this could come too close to the next one
CORRECT_INTERVAL_S = 1.0
CORRECT_BELOW = 0.5  # of a window's limit
MOST_SAMPLES = 16


class RateLimit:
    """windows: the account's limits; empty for no limit."""

    def __init__(self, database: Database, crm: str, windows: Sequence[Window] = ()) -> None:
        self._database = database
        self._crm = crm
        self._windows = tuple(windows)
        self._clock = _DatabaseClock()
        self._trouble = Trouble(crm=crm, loop="delivery")
        self._turn = asyncio.Lock()
        self._slots: deque[float] = deque()
        self._chunk = 1
        self._lead_s = 0.0  # how long it takes to reserve a slot
        self._asked_again_at = 0.0
        self._waiting = 0
        self._corrected_at = 0.0
        self._released = asyncio.Event()

    @property
    def limited(self) -> bool:
        return bool(self._windows)

    async def used(self) -> list[tuple[Window, int]]:
        """Each window of the account's limits, and the number of requests by all workers that count towards it now.

        Raises as Database.fetch does.
        """
        if not self._windows:
            return []
        _, budget, now = await self._read()
        return [(window, budget.used(window, now)) for window in self._windows]

    async def ahead(self, most: int) -> tuple[int, float]:
        """How many requests, at most this many, may start about now, besides those already waiting; else seconds until one may.

        Raises as Database.fetch does.
        """
        if not self._windows:
            return most, 0.0
        now = asyncio.get_running_loop().time()
        async with self._turn:
            self._drop_missed()
            if len(self._slots) <= self._waiting:
                if now < self._asked_again_at:
                    return 0, self._asked_again_at - now
                wait_s = await self._reserve(self._waiting + most)
                if len(self._slots) <= self._waiting:
                    return 0, max(wait_s, LEAD_S)
            now = asyncio.get_running_loop().time()
            free = list(self._slots)[self._waiting :]
        near = sum(start <= now + LEAD_S for start in free)
        return (min(near, most), 0.0) if near else (0, free[0] - LEAD_S - now)

    async def slot(self) -> None:
        """Waits until the next request may start.

        Raises HeldBackError if that is not soon, if released meanwhile, or if the database is unreachable, which is logged;
        ConfigurationError as Database.fetch does.
        """
        if not self._windows:
            return
        released, asked = self._released, asyncio.get_running_loop().time()
        while True:
            start = await self._next(released)
            with suppress(TimeoutError):
                async with asyncio.timeout_at(start):
                    await released.wait()
            if released.is_set():
                raise HeldBackError("the lane was paused or stopped before this request started")
            if (now := asyncio.get_running_loop().time()) <= start + LATE_S:
                measure(Limited(self._crm, now - asked))
                return

    def release(self) -> None:
        """Ends all waiting with HeldBackError."""
        self._slots.clear()
        self._released.set()
        self._released = asyncio.Event()

    async def correct(self, remaining: Iterable[Remaining]) -> None:
        """The CRM has reported what is left. If that is less than we count, other programs use the account too."""
        if not self._windows:
            return
        limits = {window.seconds: window.limit for window in self._windows}
        scarce = [one for one in remaining if one.requests < limits.get(one.seconds, 0) * CORRECT_BELOW]
        now = asyncio.get_running_loop().time()
        if not scarce or now < self._corrected_at + CORRECT_INTERVAL_S:
            return
        self._corrected_at = now
        # The answer that reported it has been received, and counts for more than this.
        with suppress(DatabaseTroubleError):
            text, budget, database_now = await self._read()
            corrected = budget
            for one in scarce:
                corrected = correct(self._windows, corrected, database_now, one.seconds, one.requests)
            if corrected != budget:
                await self._write(text, corrected)

    async def _next(self, released: asyncio.Event) -> float:
        """The start of the next request, by the loop's clock."""
        self._waiting += 1
        try:
            async with self._turn:
                self._drop_missed()
                if not self._slots and not released.is_set():
                    wait_s = await self._reserve_or_hold_back()
                    if not self._slots:
                        raise HeldBackError("the account's limit is used up for now", wait_s)
                return self._slots.popleft() if self._slots else 0.0
        finally:
            self._waiting -= 1

    async def _reserve_or_hold_back(self) -> float:
        """For waiting requests. An unreachable database says nothing about the CRM or a contact."""
        try:
            return await self._reserve(self._waiting)
        except DatabaseTroubleError as error:
            self._trouble.tell(error)
            raise HeldBackError(f"no request could be started: {error}") from error

    def _drop_missed(self) -> None:
        now = asyncio.get_running_loop().time()
        while self._slots and self._slots[0] + LATE_S < now:
            self._slots.popleft()
            self._chunk = 1

    async def _reserve(self, wanted: int) -> float:
        """Takes some slots; if there are none, returns the seconds until it is worth asking again."""
        while True:
            text, budget, now = await self._read()
            taken = take(self._windows, budget, now, min(wanted, self._chunk), AHEAD_S, lead_s=self._lead_s)
            if not taken.count:
                # A little later several are available at once.
                self._asked_again_at = asyncio.get_running_loop().time() + taken.wait_s + AHEAD_S / 2
                return taken.wait_s
            is_written = await self._write(text, taken.budget)
            self._learn_lead(asyncio.get_running_loop().time() - self._clock.local(now))
            if is_written:
                self._slots.extend(map(self._clock.local, taken.slots))
                self._chunk = min(self._chunk * 2, max(1, int(CHUNK_S / max(taken.interval_s, SHORTEST_INTERVAL_S))))
                return 0.0

    def _learn_lead(self, took_s: float) -> None:
        """From the database's reading of its clock until the slot was written. After a slow answer it shrinks only gradually."""
        self._lead_s = min(max(took_s, self._lead_s / 2), LONGEST_LEAD_S)

    async def _read(self) -> tuple[str | None, Budget, float]:
        asked = asyncio.get_running_loop().time()
        row = (await self._database.fetch(query("read_budget"), self._crm))[0]
        self._clock.learn(asked, asyncio.get_running_loop().time(), row["now"])
        self._trouble.over()
        return row["budget"], Budget.from_json(json.loads(row["budget"] or "null"), self._windows), row["now"]

    async def _write(self, before: str | None, after: Budget) -> bool:
        """False if another worker has written meanwhile."""
        return await self._database.value(query("write_budget"), self._crm, before, json.dumps(after.to_json())) is not None


class _DatabaseClock:
    """The database's clock in terms of the loop's: from the fastest of the recent answers,
    because it spent the least time in transit.
    """

    def __init__(self) -> None:
        self._samples: deque[tuple[float, float]] = deque(maxlen=MOST_SAMPLES)  # (seconds in transit, seconds ahead)

    def learn(self, asked: float, answered: float, now: float) -> None:
        took_s, ahead_s = answered - asked, now - (asked + answered) / 2
        if self._samples and abs(ahead_s - min(self._samples)[1]) > took_s + min(self._samples)[0] + LATE_S:
            self._samples.clear()  # the clock was set
        self._samples.append((took_s, ahead_s))

    def local(self, at: float) -> float:
        return at - min(self._samples)[1]
