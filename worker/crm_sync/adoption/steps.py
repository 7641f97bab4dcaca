"""The steps of an adoption, as the database plans them (sql/migrations/0003.adopt.sql), and how each is run on a live table.

What needs the table for a moment asks for it for LOCK_TIMEOUT_MS, for whoever writes waits behind it that long; then it asks
again. All of it is sent to the server at once, so that nothing is held while a network or this process is slow, and it is not
waited for the disk. What takes long is built beside the writers, outside a transaction; broken off it leaves an invalid index,
which the next plan begins with.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

import psycopg
from psycopg import sql

from crm_sync.adoption.connection import Connection, connected, value
from crm_sync.core.words import holders, span
from crm_sync.errors import CrmSyncError, DatabaseTroubleError
from crm_sync.postgres.statements import query, render

LOCK_TIMEOUT_MS = 100
PAUSE_S = 0.5
PATIENCE_S = 300.0
VACUUM_TIMEOUT_MS = 5000  # the server ends an autovacuum that somebody waits for after a second
TELL_AFTER_S = 5.0  # that an index waits for somebody's transaction
LOOK_S = 0.5  # between two looks at that
SAMPLE_PAGES = 4096  # read to know how fast this server reads

# The last of these: it was had of some partitions in time, but not of all.
_PASSING = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected, psycopg.errors.QueryCanceled)

CONTACTS = "contacts"  # the kind of a step that is run until there is nothing left to change
_AGAIN = "What is done so far stays, and does no harm: run this again when that has ended"

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
    return _read(connection, "SELECT * FROM crm_sync.missing_steps($1::text[], TRUE)", list(crms))


def undoing(connection: Connection, crms: Sequence[str]) -> list[Step]:
    return _read(connection, "SELECT * FROM crm_sync.undo_steps($1::text[], TRUE, TRUE)", list(crms))


def _read(connection: Connection, statement: str, *arguments: object) -> list[Step]:
    return [Step(**row) for row in connection.execute(statement.encode(), arguments)]


def bytes_a_second(connection: Connection, table: str) -> float | None:
    """How fast this server reads this very table, by its first pages; None where they are too few to tell."""
    started = time.monotonic()
    part = value(
        connection,
        "SELECT crm_sync.full_name(relation) FROM crm_sync.parts() WHERE is_leaf ORDER BY pg_relation_size(relation) DESC",
    )
    pages = value(
        connection, "SELECT pg_relation_size($1::text::regclass) / current_setting('block_size')::integer", part or table
    )
    if part is None or pages < SAMPLE_PAGES:
        return None
    connection.execute(f"SELECT count(*) FROM {part} WHERE ctid < '({SAMPLE_PAGES},0)'".encode())  # noqa: S608 (quoted by the server)
    size: int = value(connection, "SELECT current_setting('block_size')::integer")
    return SAMPLE_PAGES * size / max(time.monotonic() - started, 1e-6)


class Runner:
    """Runs steps. tell: is called with a sentence when it has to wait. patience_s: so long it waits for others, at most."""

    def __init__(self, url: str, connection: Connection, table: str, tell: Tell, patience_s: float = PATIENCE_S) -> None:
        self._url = url
        self._connection = connection
        self._table = table
        self._tell = tell
        self._patience_s = patience_s

    def run(self, step: Step) -> None:
        """Raises DatabaseTroubleError with who holds the table, else as `connected` does."""
        if step.beside_writers:
            self._beside(step)
        else:
            while self._patiently(step) and step.kind == CONTACTS:
                pass  # Some contacts at a time.

    def _beside(self, step: Step) -> None:
        # First what is about to be there: killed in the middle, what is half built is ours to take off again.
        if step.names:
            self._connection.execute(_note(step))
        deadline = time.monotonic() + self._patience_s
        while True:
            watch = _Watch(self._url, self._connection.info.backend_pid, self._tell, self._patience_s)
            try:
                with watch:
                    self._connection.execute(step.statement.encode())
            except psycopg.errors.QueryCanceled as error:
                self._drop_half_built(step)
                if watch.gave_up is None:
                    raise
                raise DatabaseTroubleError(
                    f"older transactions did not end in {span(self._patience_s)}, and an index waits for all of them. "
                    f"{watch.gave_up}. {_AGAIN}"
                ) from error
            except psycopg.errors.DeadlockDetected:
                # Two indexes of two tables that are built at once wait for each other.
                self._drop_half_built(step)
                if time.monotonic() > deadline:
                    raise
            else:
                return

    def _drop_half_built(self, step: Step) -> None:
        """Where that is possible at once; else the next run does it."""
        found = self._connection.execute(query("find_half_built").encode(), (step.names,)).fetchall()
        with suppress(*_PASSING):
            for row in found:
                self._at_once(Step(step.crm, "repair", "ACCESS EXCLUSIVE", f"DROP INDEX {row['name']}", [], 0))

    def _patiently(self, step: Step) -> int:
        """How many rows were changed."""
        deadline = time.monotonic() + self._patience_s
        told = False
        while True:
            try:
                return self._at_once(step)
            except _PASSING as error:
                in_use = self._in_use(step)
                if time.monotonic() > deadline:
                    raise DatabaseTroubleError(
                        f"the table {self._table} was not free for a moment in {span(self._patience_s)}. {in_use}. {_AGAIN}"
                    ) from error
            if not told:
                told = True
                self._tell(f"Waiting until the table is free, for {span(self._patience_s)} at most. {in_use}.")
            time.sleep(PAUSE_S * (0.5 + random.random()))  # noqa: S311 (jitter is no secret)

    def _at_once(self, step: Step) -> int:
        """In one transaction, sent as one message. How many rows were changed."""
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
        yield "BEGIN"
        if step.lock not in _BESIDE_AUTOVACUUM:
            # Nobody who reads or writes waits behind this one. Asked for in short only, an autovacuum would never be ended.
            yield f"SET LOCAL lock_timeout = {VACUUM_TIMEOUT_MS}"
            yield f"LOCK TABLE {self._table} IN SHARE UPDATE EXCLUSIVE MODE"
        yield f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}"
        if step.lock not in _BESIDE_WRITERS:
            # A lock is kept until the commit is on the disk, and on a standby. Lost by a crash, it is run again.
            yield "SET LOCAL synchronous_commit = off"
            # All partitions together, where it has any.
            yield f"SET LOCAL statement_timeout = {LOCK_TIMEOUT_MS}"
            yield f"LOCK TABLE {self._table} IN {step.lock} MODE"
            yield "SET LOCAL statement_timeout = 0"
        yield step.statement
        if step.names:
            yield _note(step)
        yield "COMMIT"

    def _in_use(self, step: Step) -> str:
        readers = step.lock == "ACCESS EXCLUSIVE"
        statement = render("find_holders", {"contacts": self._table}).encode()
        return holders(self._connection.execute(statement, (readers,)).fetchall())


class _Watch:
    """Over a statement that waits until every older transaction has ended, on whatever table: tells of it, once, and ends it.

    gave_up: on whom it waited, where it was ended.
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
        # It is a courtesy: whatever goes wrong with it, the statement itself says how it went.
        with suppress(CrmSyncError):
            if not self._over.wait(LOOK_S):
                with connected(self._url) as beside:
                    self._look(beside)

    def _look(self, beside: Connection) -> None:
        since, whom, told = time.monotonic(), None, False
        while not self._over.wait(LOOK_S):
            rows = beside.execute(query("find_blockers").encode(), (self._pid,)).fetchall()
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
                beside.execute(b"SELECT pg_cancel_backend($1)", (self._pid,))
                return


def _note(step: Step) -> str:
    literals = ", ".join(sql.Literal(value).as_string() for value in (step.crm, step.kind, step.names))
    return f"SELECT crm_sync.note_added({literals})"
