"""What a flip and a delivery write, counted: bytes of WAL, heap-only updates, entries added to the application's indexes.

Counts, so a busy machine changes nothing. A contact's first delivery is not counted: it also writes the indexed id in the CRM,
which happens once per contact.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg

from crm_sync.core.history import History
from crm_sync.core.outcome import Contact, Finish, Kind, Receipt
from crm_sync.postgres.pool import Database
from crm_sync.sandbox.postgres import Postgres
from crm_sync.table.contacts import Contacts
from crm_sync.table.schema import read_schema
from tests.bench import ours
from tests.bench.wal import UPDATES, Wal, recorded

# The application's own, next to its key.
FURTHER = ("email", "first_name", "last_name", "phone", "company", "city", "created_at")
CASES = (0, len(FURTHER))
CONTACTS = 10_000
RECEIPT = Receipt(87, 201, "4f0c7d1e-9b1a-4c55-8f4e-0d9b2f6a1c3e")  # as of a CRM that names its requests
BATCH = 500  # contacts per claim and per finish, as during a backlog
FLIP_ONE = "UPDATE contacts SET brevo_sync_status = 'Queued' WHERE id = $1"
EDIT_ONE = "UPDATE contacts SET job_title = $2 WHERE id = $1"
OURS = "pronamespace = 'crm_sync'::regnamespace"
# The key's and the further ones; crm-sync's own have a different prefix.
FILES_OF_INDEXES = """
    SELECT pg_relation_filenode(i.indexrelid)::bigint
    FROM pg_index AS i
    JOIN pg_class AS c ON i.indexrelid = c.oid
    WHERE i.indrelid = 'contacts'::regclass AND (i.indisprimary OR c.relname LIKE 'further%')
"""


@dataclass(frozen=True, slots=True)
class Step:
    """For one contact: bytes of WAL, including the COMMIT; entries added to the application's indexes. heap_only: the share that
    is.
    """

    bytes: float
    heap_only: float
    entries: float


@dataclass(frozen=True, slots=True)
class Written:
    """new_flip: of a contact that was never delivered, in a transaction of its own. flip, claim, finish: from the second delivery
    on, HISTORY=off. told_finish: the finish of the next, with a line of history each. edit: an UPDATE that names no column of
    ours; edit_calls: how often one calls a function of ours.
    """

    new_flip: Step
    flip: Step
    claim: Step
    finish: Step
    told_finish: Step
    edit: Step
    edit_calls: int

    @property
    def history_bytes(self) -> float:
        """What a line of history adds."""
        return self.told_finish.bytes - self.finish.bytes

    @property
    def delivery_bytes(self) -> float:
        return self.claim.bytes + self.finish.bytes

    @property
    def delivery_entries(self) -> float:
        return self.claim.entries + self.finish.entries

    def rows(self) -> list[tuple[str, str]]:
        """In the form shown by the bench."""
        return [
            ("WAL of a flip: a new contact's", f"{self.new_flip.bytes:,.0f} B"),
            ("WAL of a flip: from the second on", f"{self.flip.bytes:,.0f} B"),
            ("WAL of a second delivery: claim and finish", f"{self.delivery_bytes:,.0f} B"),
            ("WAL of its line of history", f"{self.history_bytes:,.0f} B"),
            ("heap-only: flips", f"{self.flip.heap_only:.2f}"),
            ("heap-only: claims", f"{self.claim.heap_only:.2f}"),
            ("heap-only: finishes", f"{self.finish.heap_only:.2f}"),
            (f"entries in the application's indexes: {CONTACTS:,} flips", f"{self.flip.entries * CONTACTS:,.0f}"),
            (f"the same: {CONTACTS:,} second deliveries", f"{self.delivery_entries * CONTACTS:,.0f}"),
            ("an UPDATE of no column of ours: WAL", f"{self.edit.bytes:,.0f} B"),
            ("the same: heap-only", f"{self.edit.heap_only:.2f}"),
            ("the same: functions of ours that are called", f"{self.edit_calls}"),
        ]


async def add_further(application: asyncpg.Connection, further: int) -> None:
    """Adds this many further indexes, at most seven."""
    for column in FURTHER[:further]:
        await application.execute(f"CREATE INDEX further_{column} ON contacts ({column})", timeout=600)


async def measure(server: Postgres, database_url: str, further: int) -> Written:
    """On an adopted table of contacts that are all New, with so many further indexes. Raises RuntimeError as `recorded` does."""
    async with Database(database_url, size=1) as database:
        application = await asyncpg.connect(database_url)
        try:
            return await _measure(server, application, database, further)
        finally:
            await application.close()


async def _measure(server: Postgres, application: asyncpg.Connection, database: Database, further: int) -> Written:
    await application.execute("ALTER TABLE contacts SET (autovacuum_enabled = off)")
    await add_further(application, further)
    await application.execute("VACUUM (ANALYZE) contacts")
    ids = [row[0] for row in await application.fetch("SELECT id FROM contacts ORDER BY id")]
    token = await ours.register(database)
    worker = _Worker(database, token, await _contacts(database, History.OFF))

    async with recorded(server, application) as new_flip:
        await _each(application, FLIP_ONE, ids)
    await worker.finish(await worker.claim())
    # As autovacuum would. The counted deliveries come after a first one, which was long ago.
    await application.execute("VACUUM (ANALYZE) contacts")
    async with recorded(server, application) as flip:
        await _each(application, FLIP_ONE, ids)
    async with recorded(server, application) as claim:
        claimed = await worker.claim()
    async with recorded(server, application) as finish:
        await worker.finish(claimed)
    await application.execute("VACUUM (ANALYZE) contacts")
    await _each(application, FLIP_ONE, ids)
    teller = _Worker(database, token + 2**20, await _contacts(database, History.ALL))
    claimed = await teller.claim()
    async with recorded(server, application) as told_finish:
        await teller.finish(claimed)
    async with recorded(server, application) as edit:
        await _each(application, EDIT_ONE, ids, "Countess")

    table = await application.fetchval("SELECT pg_relation_filenode('contacts')::bigint")
    indexes = [row[0] for row in await application.fetch(FILES_OF_INDEXES)]
    steps = [_step(wal, table, indexes, len(ids)) for wal in (new_flip, flip, claim, finish, told_finish, edit)]
    return Written(*steps, edit_calls=await _calls_of_an_edit(application, ids[0]))


def _step(wal: Wal, table: int, indexes: Sequence[int], contacts: int) -> Step:
    updates = sum(wal.updates[table, kind] for kind in UPDATES)
    if updates != contacts:
        raise RuntimeError(f"{contacts} contacts were written {updates} times")
    return Step(wal.bytes / contacts, wal.heap_only(table), sum(wal.entries[index] for index in indexes) / contacts)


async def _contacts(database: Database, history: History) -> Contacts:
    return Contacts(database, (await read_schema(database)).lanes["brevo"], "email", ours.FIELDS, history=history)


async def _each(application: asyncpg.Connection, statement: str, ids: Sequence[Any], *values: object) -> None:
    """Each contact in a separate transaction."""
    for number in ids:
        await application.execute(statement, number, *values)


async def _calls_of_an_edit(application: asyncpg.Connection, number: object) -> int:
    async with _rolled_back(application):
        await application.execute("SET LOCAL track_functions = 'all'")
        await application.execute(EDIT_ONE, number, "Lady")
        return int(
            await application.fetchval(f"SELECT count(*) FROM pg_proc WHERE {OURS} AND pg_stat_get_xact_function_calls(oid) > 0")
        )


@asynccontextmanager
async def _rolled_back(application: asyncpg.Connection) -> AsyncIterator[None]:
    transaction = application.transaction()
    await transaction.start()
    try:
        yield
    finally:
        await transaction.rollback()


class _Worker:
    """A worker's statements on everything in line."""

    def __init__(self, database: Database, token: int, contacts: Contacts) -> None:
        self._database = database
        self._token = token
        self._contacts = contacts

    async def claim(self) -> list[Contact]:
        claimed: list[Contact] = []
        while batch := (await self._contacts.claim(BATCH, self._token)).contacts:
            claimed += batch
            self._token += 1
        return claimed

    async def finish(self, claimed: Sequence[Contact]) -> None:
        for first in range(0, len(claimed), BATCH):
            # The CRM's id is the same each time.
            finishes = [
                Finish(one.id, one.token, Kind.DELIVERED, None, f"crm-{one.email}", sent=True, receipt=RECEIPT)
                for one in claimed[first : first + BATCH]
            ]
            written = (await self._contacts.finish(finishes)).written
            if len(written) != len(finishes):
                raise RuntimeError(f"{len(finishes)} contacts were to be finished, and {len(written)} were")
