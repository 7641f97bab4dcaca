"""The steps of an adoption, as the database plans them (sql/migrations/0003.adopt.sql), and how each is run on a live table.

What needs the table for a moment asks for it for LOCK_TIMEOUT_MS, for whoever writes waits behind it that long; then it asks
again. What takes long is built beside the writers, outside a transaction; broken off it leaves an invalid index, which the
next plan begins with.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import psycopg

from worker.adoption.connection import Connection, connected, value
from worker.commands.words import span
from worker.errors import DatabaseTroubleError
from worker.sql import query, render

LOCK_TIMEOUT_MS = 100
PAUSE_S = 0.5
PATIENCE_S = 300.0
TELL_AFTER_S = 5.0  # that an index waits for somebody's transaction
SAMPLE_PAGES = 4096  # read to know how fast this server reads

_PASSING = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)

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


def undoing(connection: Connection, crms: Sequence[str], *, whole: bool) -> list[Step]:
    return _read(connection, "SELECT * FROM crm_sync.undo_steps($1::text[], $2::boolean, TRUE)", list(crms), whole)


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
    """Runs steps. tell: is called with a sentence when it has to wait."""

    def __init__(self, url: str, connection: Connection, table: str, tell: Tell) -> None:
        self._url = url
        self._connection = connection
        self._table = table
        self._tell = tell

    def run(self, step: Step) -> None:
        """Raises DatabaseTroubleError with who holds the table, else as `connected` does."""
        if step.beside_writers:
            with self._watched():
                self._beside(step)
        else:
            self._patiently(step)

    def _beside(self, step: Step) -> None:
        # First what is about to be there: killed in the middle, what is half built is ours to take off again.
        self._note(step)
        self._connection.execute(step.statement.encode())

    def _patiently(self, step: Step) -> None:
        deadline = time.monotonic() + PATIENCE_S
        told = False
        while True:
            try:
                with self._connection.transaction():
                    self._connection.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}".encode())
                    self._connection.execute(step.statement.encode())
                    self._note(step)
            except _PASSING as error:
                holders = self._holders(step)
                if time.monotonic() > deadline:
                    raise DatabaseTroubleError(
                        f"the table {self._table} was not free for a moment in {span(PATIENCE_S)}. {holders}. What is done so "
                        "far stays, and does no harm: run this again when that has ended"
                    ) from error
            else:
                return
            if not told:
                told = True
                self._tell(f"Waiting until the table is free, for {span(PATIENCE_S)} at most. {holders}.")
            time.sleep(PAUSE_S * (0.5 + random.random()))  # noqa: S311 (jitter is no secret)

    def _note(self, step: Step) -> None:
        if step.names:
            self._connection.execute(b"SELECT crm_sync.note_added($1, $2, $3)", (step.crm, step.kind, step.names))

    def _holders(self, step: Step) -> str:
        readers = step.lock == "ACCESS EXCLUSIVE"
        return _sentence(self._connection.execute(self._find_holders(), (readers,)).fetchall())

    def _find_holders(self) -> bytes:
        return render("find_holders", {"contacts": self._table}).encode()

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """An index waits until every older transaction has ended, on whatever table: tells of it, once."""
        over = threading.Event()
        thread = threading.Thread(target=self._tell_of_waiting, args=(over, self._connection.info.backend_pid), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _tell_of_waiting(self, over: threading.Event, pid: int) -> None:
        # It is a courtesy: whatever goes wrong with it, the step itself says how it went.
        with suppress(Exception):
            while not over.wait(TELL_AFTER_S):
                with connected(self._url) as beside:
                    rows = beside.execute(query("find_blockers").encode(), (pid,)).fetchall()
                if rows:
                    self._tell(f"The index waits for transactions that are older; it holds up nobody. {_sentence(rows)}.")
                    return


def _sentence(rows: Sequence[dict[str, Any]]) -> str:
    """On whom it waits for, as far as the role may see that."""
    return f"It is in use by {', '.join(map(_holder, rows))}" if rows else "It was in use a moment ago"


def _holder(row: dict[str, Any]) -> str:
    lasted = "" if row["age_s"] is None else f" for {span(row['age_s'])}"
    return f"{row['kind'] or 'a session'} (pid {row['pid']}){lasted}"
