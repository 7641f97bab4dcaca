"""Lines of history: written by the same statement that finishes, and left out if they make it fail.

If a right, a slot or disk space for history is missing, contacts are finished anyway. History is then paused for a while, the
missing lines are counted, and the log says so once, and once more when history is written again.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import asyncpg
import structlog

from crm_sync import events
from crm_sync.core.history import History
from crm_sync.core.outcome import Finish, Kind
from crm_sync.errors import CrmSyncError, DatabaseTroubleError, LockedError, TooSlowError
from crm_sync.measurements import Unrecorded, measure
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import OFF, ON, render

# In these states the statement without history would not fare better: connections, conflicts, a server that stops or is
# read-only.
_OF_THE_SERVER = ("08", "25", "40", "57P")

WRITE_S = 1.0  # that separate lines may take, because finishing waits for them

log = structlog.get_logger()


class Recorded(NamedTuple):
    """A statement with its lines of history, and without."""

    told: str
    untold: str


class Fetched(NamedTuple):
    """recorded: whether history has its lines, or is to have none. suspect: the error of the statement with lines."""

    rows: list[asyncpg.Record]
    recorded: bool = True
    suspect: CrmSyncError | None = None


class Recording:
    """For one CRM. again_s: how long history is paused after it could not be written. dropped: outcomes that it lacks."""

    def __init__(self, crm: str, history: History, again_s: float) -> None:
        self.dropped = 0
        self._crm = crm
        self._history = history
        self._again_s = again_s
        self._again_at = 0.0
        self._passes = False  # it is paused because of a transient error
        self._told = ""
        self._dropped_before = 0
        self._log = log.bind(crm=crm)

    @property
    def on(self) -> bool:
        """Whether lines are to be written."""
        return self._history is not History.OFF

    def wants(self, finish: Finish) -> bool:
        """Whether history records it; the same condition as in the statements."""
        all_of_them = self._history is History.ALL
        return self.on and finish.told and (all_of_them or finish.kind is not Kind.DELIVERED or finish.error is not None)

    def render(self, name: str, variables: Mapping[str, str]) -> Recorded:
        """A statement of sql/queries that has a part for history."""
        wanted = {"history_lines": _boolean(self.on), "history_of_all": _boolean(self._history is History.ALL)}
        return Recorded(*(render(name, {**variables, **wanted, "history": part}) for part in (ON, OFF)))

    async def fetch(
        self,
        database: Database,
        statement: Recorded,
        *arguments: object,
        apart: bool = False,
        forgets: bool = False,
        patience_s: float | None = None,
        on_doubt: Callable[[], None] | None = None,
    ) -> Fetched:
        """patience_s: as of Database.fetch_briefly; None for as long as any statement. apart: the lines are written afterwards.
        forgets: the statement removes names from existing lines, so its part for history is kept even without new lines.
        on_doubt: called if a statement without lines may have been applied, but its answer was lost.

        Raises as Database.fetch does, but no errors that are due to history.
        """
        if not self.on and not forgets:
            return Fetched(await _fetch(database, patience_s, statement.untold, *arguments))
        if apart or time.monotonic() < self._again_at:
            return Fetched(await _fetch_untold(database, patience_s, statement, *arguments, on_doubt=on_doubt), recorded=False)
        try:
            rows = await _fetch(database, patience_s, statement.told, *arguments)
        except CrmSyncError as error:
            if not _may_be_history(error):
                raise
            rows = await _fetch_untold(database, patience_s, statement, *arguments, on_doubt=on_doubt)
            return Fetched(rows, recorded=False, suspect=error)
        if self._told:
            self._resumed()
        return Fetched(rows)

    async def write(
        self, database: Database, statement: str, *arguments: object, suspect: CrmSyncError | None = None
    ) -> bool | None:
        """Writes lines separately. Returns whether they were written; None: not now, because the database is unreachable or
        history is locked. Raises nothing.

        suspect: why they could not be written together with the finish. If they can be written now, that error was not due to
        history.
        """
        if time.monotonic() < self._again_at:
            return None if self._passes else False
        try:
            await database.fetch_within(WRITE_S, statement, *arguments)
        except CrmSyncError as error:
            if not _may_be_history(error):
                return None
            self._failed(suspect or error)
            return None if self._passes else False
        return True

    def lacks(self, finishes: Sequence[Finish], fetched: Fetched) -> int:
        """How many of these are missing from history, if their lines are not written separately."""
        return self.lacks_lines(sum(map(self.wants, finishes)), fetched)

    def lacks_lines(self, lines: int, fetched: Fetched) -> int:
        """The same for this many lines."""
        lines = 0 if fetched.recorded else lines
        self.drop(lines)
        if fetched.suspect is not None:
            self._failed(fetched.suspect)
        return lines

    def drop(self, lines: int) -> None:
        """These lines are lost for good."""
        if lines:
            self.dropped += lines
            measure(Unrecorded(self._crm, lines))

    def _failed(self, error: CrmSyncError) -> None:
        self._passes = isinstance(error, LockedError | TooSlowError)
        self._again_at = time.monotonic() + self._again_s
        if str(error) != self._told:
            self._told = str(error)
            lacks_right = isinstance(error.__cause__, asyncpg.InsufficientPrivilegeError)
            command = "let the owner of the table run what `crm-sync grants` prints" if lacks_right else "see `crm-sync check`"
            note = f"contacts are still delivered, and history lacks them: {command}"
            self._log.error(events.HISTORY_NOT_WRITTEN, reason=self._told, note=note)

    def _resumed(self) -> None:
        self._told = ""
        self._log.info(events.HISTORY_WRITTEN_AGAIN, lacks=self.dropped - self._dropped_before)
        self._dropped_before = self.dropped


async def _fetch(database: Database, patience_s: float | None, statement: str, *arguments: object) -> list[asyncpg.Record]:
    if patience_s is None:
        return await database.fetch(statement, *arguments)
    return await database.fetch_briefly(patience_s, statement, *arguments)


async def _fetch_untold(
    database: Database,
    patience_s: float | None,
    statement: Recorded,
    *arguments: object,
    on_doubt: Callable[[], None] | None,
) -> list[asyncpg.Record]:
    try:
        return await _fetch(database, patience_s, statement.untold, *arguments)
    except DatabaseTroubleError as error:
        if on_doubt is not None and not error.of_a_row:
            on_doubt()
        raise


def _boolean(value: bool) -> str:
    return "TRUE" if value else "FALSE"


def _may_be_history(error: CrmSyncError) -> bool:
    # In a trigger, so in one of the contacts table: history has none.
    if isinstance(error, LockedError | TooSlowError) and error.of_a_row:
        return False
    cause = error.__cause__
    return isinstance(cause, asyncpg.PostgresError) and not str(getattr(cause, "sqlstate", "")).startswith(_OF_THE_SERVER)
