"""A worker's report on one lane in `crm_sync.progress`, for `crm-sync status` and `why`.

One statement every report_s while the lane is busy, and none while it is idle. A failure to write it is logged once, and does not
affect the lane.
"""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from typing import Protocol

from crm_sync.core.moves import Moves
from crm_sync.core.rate import Window, written
from crm_sync.core.text import clean
from crm_sync.core.waits import USUAL, Waits
from crm_sync.errors import ConfigurationError, CrmSyncError
from crm_sync.log import Trouble
from crm_sync.postgres.pool import Database
from crm_sync.postgres.session import Session
from crm_sync.postgres.statements import query
from crm_sync.table.avoided import MOST_REFUSED

MOST_CLAIMS = 100  # the oldest in hand


class Lane(Protocol):
    """The part of `crm_sync.lane.lane.Lane` that is reported. changed: set when there is something to report."""

    crm: str
    moves: Moves
    changed: asyncio.Event

    def in_hand_s(self, most: int) -> Mapping[int, float]: ...

    def refused(self, most: int) -> Mapping[str, str]: ...


class LaneProgress:
    """windows: the limits of the account."""

    def __init__(self, lane: Lane, database: Database, session: Session, windows: Sequence[Window], waits: Waits = USUAL) -> None:
        self._lane = lane
        self._database = database
        self._session = session
        self._limits = written(windows)
        self._waits = waits
        self._trouble = Trouble(crm=lane.crm, loop="progress")
        self._said: tuple[object, ...] = ()

    async def run(self) -> None:
        """Runs for as long as the lane."""
        while True:
            await self._session.opened.wait()
            pause_s = self._waits.report_s
            try:
                await self.say()
            except CrmSyncError as error:
                self._trouble.tell(error)
                self._lane.changed.set()  # still to be reported
                if isinstance(error, ConfigurationError):  # a right that the role does not have yet
                    pause_s = self._waits.longest_mending_look_s
            await asyncio.sleep(pause_s)
            await self._lane.changed.wait()

    async def say(self) -> None:
        """Reports changes, if there are any. Raises as Database.fetch does."""
        worker = self._session.worker_id
        if worker is None:  # it ends before the session was ever opened: nothing was claimed
            return
        lane, its, now = self._lane, self._lane.moves, time.monotonic()
        lane.changed.clear()
        moves = its.untold()
        claims, refused = lane.in_hand_s(MOST_CLAIMS), dict(lane.refused(MOST_REFUSED))
        about = worker, its.delivered_at, [*claims], refused
        if about == self._said and not moves:
            return
        ago_s = None if its.delivered_at is None else now - its.delivered_at
        row = (
            await self._database.fetch(
                query("note_progress"),
                lane.crm,
                worker,
                its.deliveries(now),
                ago_s,
                self._limits,
                json.dumps({str(token): round(age_s, 3) for token, age_s in claims.items()}),
                json.dumps({key: clean(reason) for key, reason in refused.items()}, ensure_ascii=False),
                [*moves],
                [*moves.values()],
            )
        )[0]
        self._said = about
        self._trouble.over()
        counted_at = row["counted_at"]
        if counted_at is None:
            its.told(moves, None)
        else:
            counted = time.monotonic() - row["counted_ago_s"]
            its.told({state: moves[state] for state in row["moved"]}, counted_at, counted)
