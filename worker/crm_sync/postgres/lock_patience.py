"""One way to change a table under load.

A statement that needs the table for itself waits for anyone who uses it, and everybody who comes later waits behind that
statement. So it asks for its lock for LOCK_TIMEOUT_MS only, and no application waits longer. Refused, it lets those who waited go
on for about PAUSE_S, and asks again, until it is granted or a person's patience is over. The person is told once what it
waits for.

    try, in one transaction        changed               done
      with lock_timeout            refused, in time      tell on whom it waits, once; pause; try again
                                   refused, too late     give up, with who holds the table
                                   any other error       is the caller's

Both drivers do so: psycopg in `crm_sync.adoption.steps`, asyncpg in `crm_sync.reports.table_changes`. They send, ask who holds
the table (find_holders.sql) and sleep. When to ask, what to tell and when to give up is decided here.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from crm_sync.core.durations import span
from crm_sync.errors import DatabaseTroubleError

LOCK_TIMEOUT_MS = 100  # anyone who writes waits behind us for so long
PAUSE_S = 0.5  # between two tries, give or take half of it: time for those who waited

REFUSED = ("55P03", "40P01")  # SQLSTATEs of a lock that was not had: not in time, or two waited for each other


class Pause(NamedTuple):
    """Before the next try. told: a sentence for a person, None if there is nothing new."""

    pause_s: float
    told: str | None


class LockPatience:
    """Of one change. Times in seconds, by a clock that only moves forward."""

    def __init__(self, table: str, patience_s: float, *, now: float, refusal: str) -> None:
        """table: in words. refusal: what a person is told in the end, with {why} where the reason goes."""
        self._table = table
        self._patience_s = patience_s
        self._deadline = now + patience_s
        self._refusal = refusal
        self._told = False

    def refused(self, error: Exception, rows: Sequence[Mapping[str, Any]], *, now: float, chance: float) -> Pause:
        """The lock was not had. rows: of find_holders.sql. chance: a random number from 0 to 1.

        Raises DatabaseTroubleError with who holds the table when patience is over.
        """
        in_use = holders(rows)
        if now > self._deadline:
            why = f"{self._table} could not be locked within {span(self._patience_s)}. {in_use}"
            raise DatabaseTroubleError(self._refusal.format(why=why)) from error
        told = None if self._told else f"Waiting until {self._table} is free, for {span(self._patience_s)} at most. {in_use}."
        self._told = True
        return Pause(PAUSE_S * (0.5 + chance), told)


def holders(rows: Sequence[Mapping[str, Any]], what: str = "It is in use by") -> str:
    """One sentence on whom somebody waits for. rows: of find_holders.sql or find_blockers.sql, as the role may see them."""
    return f"{what} {', '.join(map(_holder, rows))}" if rows else "It was in use a moment ago"


def _holder(row: Mapping[str, Any]) -> str:
    lasted = "" if row["age_s"] is None else f" for {span(row['age_s'])}"
    return f"{row['kind'] or 'a session'} (pid {row['pid']}){lasted}"
