"""Whose turn it is in a backlog: a quarter of what is claimed goes to fresh flips, the rest in the order of flipping.

    in line, by due time     ├──────── the backlog ────────┤ fresh_from ├──── fresh ────┤ now
    a claim of 100 takes     its first 75                               its first 25

A lane has a backlog while its claims come back full. It begins with the first full one: what was in line then is the backlog, and
contacts flipped later are fresh, and do not wait for it. Without a backlog, all are served in order of their due times.

A second bulk statement would turn the fresh line into a backlog too, and block the contacts flipped after it. So if many contacts
wait there, they join the backlog, and only those flipped later are fresh.

All due times are the database's; seconds are by one clock of the caller's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from crm_sync.core.waits import USUAL

SHARE = 0.25
MOST_FRESH = 50  # more than this at a time are not fresh flips, but a backlog
LATE_COMMIT = timedelta(seconds=10)  # a flip is due when it is made, but visible when it is committed: usually within this time


class FreshLine(NamedTuple):
    """A row of find_newest_due.sql: about the contacts in line after fresh_from, or all if it is None."""

    looked_at: datetime  # by the database's clock
    waiting: int  # counted up to MOST_FRESH + 1
    newest: datetime | None
    bulk_end: datetime | None  # the newest that directly follows another one, as in a bulk statement
    first: datetime | None


@dataclass(slots=True)
class Fairness:
    """fresh_from: contacts due later are fresh; None without a backlog. look_s: seconds between two looks at the fresh line."""

    fresh_from: datetime | None = None
    credit: float = 0.0  # fraction of a fresh contact carried over, less than one
    look_at: float = 0.0
    look_s: float = USUAL.fresh_look_s

    def share(self, limit: int, *, all_fresh: bool = False) -> int:
        """How many contacts of the next claim, at most this many, may be fresh. Unused share is not saved up.

        all_fresh: all may. For a probe: contacts flipped together are often alike, so the next ones of the backlog may be why the
        lane is held.
        """
        if self.fresh_from is None:
            return 0
        if all_fresh:
            return limit
        self.credit += limit * SHARE
        share = int(self.credit)
        self.credit -= share
        return share

    def of_backlog(self, due: Sequence[datetime]) -> Sequence[datetime]:
        """The due times that belong to the backlog."""
        fresh_from = self.fresh_from
        return due if fresh_from is None else [one for one in due if one <= fresh_from]

    def claimed(self, limit: int, share: int, backlog: int, fresh: int, now: float) -> bool:
        """A claim with this limit and share came back with this many of each. True if a look is wanted."""
        if fresh + backlog < limit:
            if fresh + backlog > 0:  # an empty claim may mean that the CRM must not be called at the moment
                self.fresh_from, self.credit = None, 0.0
            return False
        if fresh > share:
            self.fresh_from = None  # the backlog is served, and left room for fresh contacts. They may be the next backlog
        if self.fresh_from is not None and now < self.look_at:
            return False
        self.look_at = now + self.look_s
        return True

    def measured(self, line: FreshLine) -> None:
        """Everything due up to that time was flipped before now and belongs to the backlog: none of it is fresh."""
        if self.fresh_from is None:
            self.fresh_from = line.newest
        elif line.waiting > MOST_FRESH:
            self.fresh_from = line.bulk_end or line.newest
        else:
            # Otherwise each claim steps over the index entries of served contacts until they are vacuumed.
            quiet = line.looked_at - LATE_COMMIT
            if line.first is None or line.first > quiet:
                self.fresh_from = max(self.fresh_from, quiet)
