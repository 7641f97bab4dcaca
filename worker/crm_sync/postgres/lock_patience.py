"""How to change a table under load.

A statement that needs an exclusive lock on the table waits for every session that uses it, and all later statements wait behind
it. So it waits for its lock for only LOCK_TIMEOUT_MS, and no application waits longer. If refused, it lets the others go on for
about PAUSE_S and tries again, until the lock is granted or the given patience is over. The user is told once what it is waiting
for.

    try, in one transaction        changed               done
      with lock_timeout            refused, in time      say what it waits for, once; pause; try again
                                   refused, too late     give up, with who holds the table
                                   any other error       is raised to the caller

Both drivers do so: psycopg in `crm_sync.adoption.steps`, asyncpg in `crm_sync.reports.table_changes`. They send statements, ask
which sessions hold the table (find_holders.sql), and sleep. This module decides when to ask, what to report and when to give up.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from crm_sync.core.durations import span
from crm_sync.errors import DatabaseTroubleError

LOCK_TIMEOUT_MS = 100  # writers wait behind us for at most this long
PAUSE_S = 0.5  # between two tries, give or take half of it: time for those that waited

REFUSED = ("55P03", "40P01")  # SQLSTATEs of a lock that was not granted: timeout, or deadlock


class Pause(NamedTuple):
    """Before the next try. told: a sentence for the user, None if there is nothing new."""

    pause_s: float
    told: str | None


class LockPatience:
    """For one change. Times are in seconds by a monotonic clock."""

    def __init__(self, table: str, patience_s: float, *, now: float, refusal: str) -> None:
        """table: in words. refusal: what the user is finally told, with {why} for the reason."""
        self._table = table
        self._patience_s = patience_s
        self._deadline = now + patience_s
        self._refusal = refusal
        self._told = False

    def refused(self, error: Exception, rows: Sequence[Mapping[str, Any]], *, now: float, chance: float) -> Pause:
        """The lock was not granted. rows: of find_holders.sql. chance: a random number from 0 to 1.

        Raises DatabaseTroubleError that says which sessions hold the table when patience is over.
        """
        in_use = holders(rows)
        if now > self._deadline:
            why = f"{self._table} could not be locked within {span(self._patience_s)}. {in_use}"
            raise DatabaseTroubleError(self._refusal.format(why=why)) from error
        told = None if self._told else f"Waiting until {self._table} is free, for {span(self._patience_s)} at most. {in_use}."
        self._told = True
        return Pause(PAUSE_S * (0.5 + chance), told)


def holders(rows: Sequence[Mapping[str, Any]], what: str = "It is in use by") -> str:
    """One sentence that says which sessions are being waited for. rows: of find_holders.sql or find_blockers.sql, as far as the
    role may see them.
    """
    return f"{what} {', '.join(map(_holder, rows))}" if rows else "It was in use a moment ago"


def _holder(row: Mapping[str, Any]) -> str:
    lasted = "" if row["age_s"] is None else f" for {span(row['age_s'])}"
    return f"{row['kind'] or 'a session'} (pid {row['pid']}){lasted}"
