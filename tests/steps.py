"""Steps of the protocol, by hand: what a worker and an application do, one at a time."""

from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import asyncpg

from crm_sync import measurements
from crm_sync.core.history import History
from crm_sync.core.outcome import Contact, Finish, Kind
from crm_sync.core.waits import USUAL, Waits
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query
from crm_sync.table.contacts import Contacts
from crm_sync.table.schema import read_schema
from crm_sync.table.strays import Strays
from tests.roles import as_worker

COLUMNS = (
    *("sync_status", "processing_status", "processing_error", "contact_id"),
    *("attempts", "due_at", "claimed_by", "synced_at", "flipped_at"),
)


class Worker:
    """A worker's statements on Brevo's columns, without its loops. It is registered, otherwise it would claim nothing."""

    def __init__(self, database: Database, contacts: Contacts, number: int) -> None:
        self.database = database
        self.contacts = contacts
        self.strays = Strays(database, contacts.table)
        self.number = number
        self._token = number << 32

    async def claim(
        self, limit: int = 100, *, rung: bool = False, probe: bool = False, without: Collection[Any] = ()
    ) -> list[Contact]:
        self._token += 1
        return (await self.contacts.claim(limit, self._token, rung=rung, probe=probe, without=without)).contacts

    async def finish(self, contact: Contact, kind: Kind, **details: Any) -> bool:
        return bool((await self.contacts.finish([Finish(contact.id, contact.token, kind, **details)])).written)


@asynccontextmanager
async def open_worker(url: str, number: int, waits: Waits = USUAL, *, history: History = History.ALL) -> AsyncIterator[Worker]:
    async with Database(as_worker(url), size=2, timeout_s=waits.statement_timeout_s) as database:
        table = (await read_schema(database)).lanes["brevo"]
        await database.fetch(query("register_worker"), number, "test", 1, "0")
        yield Worker(database, Contacts(database, table, "email", {"FIRSTNAME": "first_name"}, waits, history=history), number)


@contextmanager
def counted_statements() -> Iterator[list[str]]:
    """The names of the statements that succeed meanwhile."""
    names: list[str] = []

    def note(measurement: object) -> None:
        if isinstance(measurement, measurements.Statement):
            names.append(measurement.name)

    measurements.tap(note)
    try:
        yield names
    finally:
        measurements.untap(note)


async def insert(app: asyncpg.Connection, status: str = "New", email: str = "ada@example.com") -> Any:
    return await app.fetchval(
        "INSERT INTO contacts (email, first_name, brevo_sync_status) VALUES ($1, 'Ada', $2) RETURNING id", email, status
    )


async def write(app: asyncpg.Connection, row_id: Any, /, **columns: Any) -> None:
    """One UPDATE of Brevo's columns of one contact, as an application would write it."""
    changes = ", ".join(f"brevo_{name} = ${number}" for number, name in enumerate(columns, 2))
    await app.execute(f"UPDATE contacts SET {changes} WHERE id = $1", row_id, *columns.values())


async def make_due(app: asyncpg.Connection, contact_id: Any = None, *, in_s: float = 0) -> Any:
    """Makes all contacts waiting at Brevo, or one, due at that time: both the row and its place in line, like a finish. Returns
    the time.
    """
    return await app.fetchval(
        "WITH due AS (UPDATE contacts SET brevo_due_at = clock_timestamp() + make_interval(secs => $2) "
        "WHERE brevo_due_at IS NOT NULL AND id = coalesce($1, id) RETURNING id, brevo_due_at) "
        "INSERT INTO crm_sync.brevo_line (due_at, key) SELECT brevo_due_at, id FROM due RETURNING due_at",
        contact_id,
        in_s,
    )


async def read(app: asyncpg.Connection, contact_id: Any) -> dict[str, Any]:
    """Brevo's columns of one contact, without the prefix."""
    row = await app.fetchrow("SELECT * FROM contacts WHERE id = $1", contact_id)
    assert row is not None
    return {name: row[f"brevo_{name}"] for name in COLUMNS}


async def pair(app: asyncpg.Connection, contact_id: Any) -> tuple[str, str | None]:
    row = await read(app, contact_id)
    return row["sync_status"], row["processing_status"]


async def orphan(app: asyncpg.Connection, attempts: int = 1, crm: str = "brevo") -> int:
    """Leaves all contacts of the table in flight with a worker that died. Returns its id."""
    register = "INSERT INTO crm_sync.workers (host, pid, version) VALUES ('gone', 1, '0') ON CONFLICT DO NOTHING RETURNING id"
    worker: int | None = None
    while worker is None:  # open_worker has taken some ids beyond the sequence
        worker = await app.fetchval(register)
    await app.execute(
        f"UPDATE contacts SET {crm}_sync_status = 'Processing', {crm}_processing_status = 'Processing', {crm}_attempts = $2, "
        f"{crm}_claimed_by = ($1::bigint << 32) | 5",
        worker,
        attempts,
    )
    return worker


async def watch(app: asyncpg.Connection, *columns: str, crm: str = "brevo") -> None:
    await app.execute("SELECT crm_sync.watch($1, $2)", crm, columns)


async def first_names(worker: Worker) -> list[str]:
    """What the next claim would send."""
    return [contact.fields["FIRSTNAME"] for contact in await worker.claim()]
