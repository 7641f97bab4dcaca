"""The steps of an adoption, as the database plans them (sql/migrations/0003.adopt.sql), and how each is run on a live table.

Steps that need the table for a moment lock it as described in `crm_sync.postgres.lock_patience`. Each is sent to the server as
one message, so that no lock is held while the network or this process is slow, and its commit does not wait for the disk. Long
steps are built concurrently, outside a transaction; if interrupted, they leave an invalid index, which the next plan handles
first.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

from crm_sync.adoption.connection import Connection, connected, run, value
from crm_sync.core.durations import span
from crm_sync.errors import CrmSyncError, DatabaseTroubleError
from crm_sync.postgres.backoff import chance
from crm_sync.postgres.lock_patience import LOCK_TIMEOUT_MS, REFUSED, LockPatience, holders
from crm_sync.postgres.statements import render, set_to

PATIENCE_S = 300.0
VACUUM_TIMEOUT_MS = 5000  # the server cancels an autovacuum that a session has waited for after a second
TELL_AFTER_S = 5.0  # that an index build waits for another transaction
LOOK_S = 0.5  # between two checks of that
SAMPLE_PAGES = 4096  # read to measure how fast this server reads

# The last of these: it was locked in time for some partitions, but not for all.
_PASSING: tuple[type[psycopg.Error], ...] = (*map(psycopg.errors.lookup, REFUSED), psycopg.errors.QueryCanceled)

CONTACTS = "contacts"  # the kind of step that is run until there is nothing left to change
_AGAIN = "What is done so far stays, and does no harm: run this again afterwards"

_BESIDE_AUTOVACUUM = ("none", "ACCESS SHARE", "ROW EXCLUSIVE")
_BESIDE_WRITERS = (*_BESIDE_AUTOVACUUM, "SHARE UPDATE EXCLUSIVE")

Tell = Callable[[str], None]


class Step(NamedTuple):
    """A row of crm_sync.step. reads: bytes."""

    crm: str | None
    kind: str
    lock: str
    statement: str
    names: list[str]
    reads: int

    @property
    def beside_writers(self) -> bool:
        return self.statement.startswith(("CREATE INDEX CONCURRENTLY", "DROP INDEX CONCURRENTLY"))


def missing(connection: Connection, crms: Sequence[str]) -> list[Step]:
    return [Step(**row) for row in run(connection, "list_missing_steps", list(crms))]


def undoing(connection: Connection, crms: Sequence[str]) -> list[Step]:
    return [Step(**row) for row in run(connection, "list_undo_steps", list(crms))]


def bytes_a_second(connection: Connection, table: str) -> float | None:
    """How fast this server reads this table, measured on its first pages; None if there are too few."""
    started = time.monotonic()
    part = value(connection, "find_largest_part")
    size = run(connection, "measure_part", part or table).fetchone()
    if part is None or size is None or size["pages"] < SAMPLE_PAGES:
        return None
    run(connection, "read_sample", variables={"part": part, "end": f"({SAMPLE_PAGES},0)"})
    page_bytes: int = size["page_bytes"]
    return SAMPLE_PAGES * page_bytes / max(time.monotonic() - started, 1e-6)


class Runner:
    """Runs steps. tell: called with a sentence when it has to wait. patience_s: how long it waits for other sessions, at most."""

    def __init__(self, url: str, connection: Connection, table: str, tell: Tell, patience_s: float = PATIENCE_S) -> None:
        self._url = url
        self._connection = connection
        self._table = table
        self._tell = tell
        self._patience_s = patience_s

    def run(self, step: Step) -> None:
        """Raises DatabaseTroubleError that names the holders of the table; else as `connected` does."""
        if step.beside_writers:
            self._beside(step)
        else:
            while self._patiently(step) and step.kind == CONTACTS:
                pass  # A batch of contacts at a time.

    def _beside(self, step: Step) -> None:
        # First record what is about to be created: then a half-built object is ours to remove after a kill.
        if step.names:
            self._connection.execute(_note(step))
        deadline = time.monotonic() + self._patience_s
        while True:
            observer = _Observer(self._url, self._connection.info.backend_pid, self._tell, self._patience_s)
            try:
                with observer:
                    self._connection.execute(step.statement.encode())
            except psycopg.errors.QueryCanceled as error:
                self._drop_half_built(step)
                if observer.gave_up is None:
                    raise
                raise DatabaseTroubleError(
                    f"older transactions did not end within {span(self._patience_s)}, and an index waits for all of them. "
                    f"{observer.gave_up}. {_AGAIN}"
                ) from error
            except psycopg.errors.DeadlockDetected:
                # Two indexes of two tables that are built at the same time wait for each other.
                self._drop_half_built(step)
                if time.monotonic() > deadline:
                    raise
            else:
                return

    def _drop_half_built(self, step: Step) -> None:
        """If that is possible at once; otherwise the next run does it."""
        found = run(self._connection, "find_half_built", step.names).fetchall()
        with suppress(*_PASSING):
            for row in found:
                self._at_once(Step(step.crm, "repair", "ACCESS EXCLUSIVE", render("drop_index", {"index": row["name"]}), [], 0))

    def _patiently(self, step: Step) -> int:
        """Returns how many rows were changed."""
        patience = LockPatience(f"the table {self._table}", self._patience_s, now=time.monotonic(), refusal=f"{{why}}. {_AGAIN}")
        while True:
            try:
                return self._at_once(step)
            except _PASSING as error:
                pause = patience.refused(error, self._holders(step), now=time.monotonic(), chance=chance())
            if pause.told is not None:
                self._tell(pause.told)
            time.sleep(pause.pause_s)

    def _at_once(self, step: Step) -> int:
        """In one transaction, sent as one message. Returns how many rows were changed."""
        cursor = self._connection.cursor()
        try:
            cursor.execute("; ".join(self._transaction(step)).encode())
        except psycopg.Error:
            if not self._connection.closed:
                self._connection.execute(b"ROLLBACK")
            raise
        changed = 0
        while True:
            if (cursor.statusmessage or "").startswith("UPDATE"):
                changed += cursor.rowcount
            if not cursor.nextset():
                return changed

    def _transaction(self, step: Step) -> Iterator[str]:
        # Composed here, because the parts depend on the lock of the step, and everything is one message.
        yield "BEGIN"
        if step.lock not in _BESIDE_AUTOVACUUM:
            # Readers and writers do not wait behind this lock. With a shorter timeout, an autovacuum would never be cancelled.
            yield set_to({"lock_timeout": VACUUM_TIMEOUT_MS}, local=True)
            yield self._lock("SHARE UPDATE EXCLUSIVE")
        yield set_to({"lock_timeout": LOCK_TIMEOUT_MS}, local=True)
        if step.lock not in _BESIDE_WRITERS:
            # Otherwise the lock is held until the commit is on disk, and on a standby. If a crash loses the step, it is run
            # again.
            yield set_to({"synchronous_commit": "off"}, local=True)
            # All partitions together, if there are any.
            yield set_to({"statement_timeout": LOCK_TIMEOUT_MS}, local=True)
            yield self._lock(step.lock)
            yield set_to({"statement_timeout": 0}, local=True)
        yield step.statement
        if step.names:
            yield _note(step)
        yield "COMMIT"

    def _lock(self, mode: str) -> str:
        return render("lock_table", {"contacts": self._table, "lock": mode})

    def _holders(self, step: Step) -> list[dict[str, Any]]:
        readers = step.lock == "ACCESS EXCLUSIVE"
        return run(self._connection, "find_holders", readers, variables={"contacts_name": self._table}).fetchall()


class _Observer:
    """Watches a statement that waits for every older transaction to end, on any table: reports that once, and cancels the
    statement in the end.

    gave_up: what it waited for, if it was cancelled.
    """

    def __init__(self, url: str, pid: int, tell: Tell, patience_s: float) -> None:
        self.gave_up: str | None = None
        self._url = url
        self._pid = pid
        self._tell = tell
        self._patience_s = patience_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        # This is only a courtesy: if it fails, the statement itself still shows how it went.
        with suppress(CrmSyncError):
            if not self._over.wait(LOOK_S):
                with connected(self._url) as beside:
                    self._observe(beside)

    def _observe(self, beside: Connection) -> None:
        since, whom, told = time.monotonic(), None, False
        while not self._over.wait(LOOK_S):
            rows = run(beside, "find_blockers", self._pid).fetchall()
            first = rows[0]["pid"] if rows else None
            if first != whom:
                since, whom = time.monotonic(), first
            waited_s = time.monotonic() - since
            if rows and not told and waited_s >= min(TELL_AFTER_S, self._patience_s / 2):
                told = True
                self._tell(
                    f"Waiting for older transactions, for {span(self._patience_s)} at most. {holders(rows, 'They are of')}."
                )
            if rows and waited_s > self._patience_s:
                self.gave_up = holders(rows, "They are of")
                run(beside, "cancel_statement", self._pid)
                return


def _note(step: Step) -> str:
    noted = {"of_crm": step.crm, "kind": step.kind, "names": step.names}
    return render("note_added", {name: sql.Literal(value).as_string() for name, value in noted.items()})
