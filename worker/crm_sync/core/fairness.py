"""Whose turn it is in a backlog: a quarter of what is claimed goes to fresh flips, the rest in the order of flipping.

    in line, by due time     ├──────── the backlog ────────┤ fresh_from ├──── fresh ────┤ now
    a claim of 100 takes     its first 75                               its first 25

A lane has a backlog while its claims come back full. It begins with the first full one: what was in line then is the backlog, and
who is flipped later is fresh, and need not wait for it. Without a backlog all are served in order of their due times.

A second statement over many rows would make a backlog of the fresh line too, and shut out who is flipped after that. So where
many wait there, they join the backlog, and fresh is who comes after them.

All due times are the database's; seconds are of one clock of the caller's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from crm_sync.core.waits import USUAL

SHARE = 0.25
MOST_FRESH = 50  # more at a time are not fresh flips, but a backlog
LATE_COMMIT = timedelta(seconds=10)  # a flip is due when it is made, and seen when it is committed: within this, as a rule


class FreshLine(NamedTuple):
    """A row of find_newest_due.sql: of those in line after fresh_from, of all where there is none."""

    looked_at: datetime  # by the database's clock
    waiting: int  # counted up to MOST_FRESH + 1
    newest: datetime | None
    bulk_end: datetime | None  # the newest that came right behind another one, as in a statement over many rows
    first: datetime | None


@dataclass(slots=True)
class Fairness:
    """fresh_from: who is due later is fresh; None without a backlog. look_s: seconds between two looks at the fresh line."""

    fresh_from: datetime | None = None
    credit: float = 0.0  # of fresh contacts, less than one
    look_at: float = 0.0
    look_s: float = USUAL.fresh_look_s

    def share(self, limit: int) -> int:
        """How many contacts of the next claim, of at most this many, may be fresh. What is not used is not saved up."""
        if self.fresh_from is None:
            return 0
        self.credit += limit * SHARE
        share = int(self.credit)
        self.credit -= share
        return share

    def of_backlog(self, due: Sequence[datetime]) -> Sequence[datetime]:
        """Those of the due times that are of no fresh contact."""
        fresh_from = self.fresh_from
        return due if fresh_from is None else [one for one in due if one <= fresh_from]

    def claimed(self, limit: int, share: int, backlog: int, fresh: int, now: float) -> bool:
        """A claim of at most this many, and such a share, came back with this many of each. True if a look is wanted."""
        if fresh + backlog < limit:
            if fresh + backlog > 0:  # nobody at all may mean that the CRM must not be called just now
                self.fresh_from, self.credit = None, 0.0
            return False
        if fresh > share:
            self.fresh_from = None  # the backlog is served, and left its room to fresh ones. They may be the next
        if self.fresh_from is not None and now < self.look_at:
            return False
        self.look_at = now + self.look_s
        return True

    def measured(self, line: FreshLine) -> None:
        """What is due up to there was flipped before now, and is the backlog: of it, nothing is fresh any more."""
        if self.fresh_from is None:
            self.fresh_from = line.newest
        elif line.waiting > MOST_FRESH:
            self.fresh_from = line.bulk_end or line.newest
        else:
            # Index entries of those that were served are stepped over again and again until they are cleared away.
            quiet = line.looked_at - LATE_COMMIT
            if line.first is None or line.first > quiet:
                self.fresh_from = max(self.fresh_from, quiet)
