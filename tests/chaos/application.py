"""An application: it runs its steps in plain SQL, and records what was committed.

If the answer to a step is lost because the server was restarted, the row shows whether it was committed; a step that was rolled
back is repeated. So every application takes all its steps in order, whatever happens in between.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from random import Random

import asyncpg

from crm_sync.sandbox.process import CRMS
from tests.chaos.ledger import MARKER, REMOTE_ID, Change, Ledger
from tests.chaos.steps import Step, Steps

STATEMENT_TIMEOUT_S = 60.0
RECONNECT_S = 0.1
# Columns that an ORM reads with the row, and writes back with it.
WORKERS_COLUMNS = [
    *(
        f"{crm}_{column}"
        for crm in CRMS
        for column in ("processing_status", "processing_error", "attempts", "due_at", "synced_at")
    ),
    *REMOTE_ID.values(),
]
STALE_S = 0.3

# What asyncpg raises while the server goes down: the usual errors, one about its own state, and one about an attribute of None.
AWAY = (
    OSError,
    TimeoutError,
    AttributeError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
)


class Application:
    """rate: steps a second, about."""

    def __init__(self, number: int, seed: int, url: str, ledger: Ledger, rate: float) -> None:
        self._steps = Steps(number, seed)
        self._pauses = Random(f"{seed}, pauses of application {number}")
        self._url = url
        self._ledger = ledger
        self._rate = rate
        self._connection: asyncpg.Connection | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Until stopped, between two steps."""
        try:
            while not stop.is_set():
                await self._take(self._steps.next())
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._pauses.expovariate(self._rate)):
                        await stop.wait()
        finally:
            self._hang_up()

    async def _take(self, step: Step) -> None:
        """Returns when it is committed, or rolled back on purpose."""
        while True:
            try:
                await self._transact(step)
            except asyncpg.DeadlockDetectedError as error:
                self._ledger.deadlocks.append(f"{step.what}: {error}")
            except asyncpg.SerializationError:
                self._ledger.transactions["serialization failures"] = (
                    self._ledger.transactions.get("serialization failures", 0) + 1
                )
            except AWAY:
                self._hang_up()
                if await self._was_committed(step):
                    self._ledger.in_doubt += 1
                    self._ledger.commit(step.what, step.changes)
                    return
            else:
                if step.what != "roll back":
                    self._ledger.commit(step.what, step.changes)
                return

    async def _transact(self, step: Step) -> None:
        app = await self._connected()
        stale = await self._read_stale(app, step) if step.what == "save a stale row" else {}
        isolation = "repeatable_read" if "repeatable read" in step.what else "read_committed"
        transaction = app.transaction(isolation=isolation)
        ids = {change.contact.id for change in step.changes}
        await transaction.start()
        try:
            if step.what == "flip unseen by triggers":
                await app.execute("SET LOCAL session_replication_role = replica")
            elif isolation == "repeatable_read":
                await app.fetchval("SELECT count(*) FROM contacts")
                await asyncio.sleep(step.held_s)
            self._ledger.held |= ids
            for change in step.changes:
                await self._write(app, change, stale)
            await asyncio.sleep(step.held_s)
        except Exception:
            with suppress(*AWAY, asyncpg.PostgresError):
                await transaction.rollback()
            raise
        finally:
            self._ledger.held -= ids
        await (transaction.rollback() if step.what == "roll back" else transaction.commit())

    async def _write(self, app: asyncpg.Connection, change: Change, stale: dict[str, object]) -> None:
        contact = change.contact
        values = {**stale, **change.values}
        names, numbers = list(values), [f"${place}" for place in range(2, len(values) + 2)]
        if change.deletes:
            done = await app.execute("DELETE FROM contacts WHERE id = $1", contact.id)
        elif contact.version == 0:
            statement = f"INSERT INTO contacts (id, {', '.join(names)}) VALUES ($1, {', '.join(numbers)})"
            done = await app.execute(statement, contact.id, *values.values())
        else:
            pairs = ", ".join(f"{column} = {number}" for column, number in zip(names, numbers, strict=True))
            done = await app.execute(f"UPDATE contacts SET {pairs} WHERE id = $1", contact.id, *values.values())
        if not done.endswith(" 1"):
            self._ledger.surprises.append(f"contact {contact.number}: {done}")

    async def _read_stale(self, app: asyncpg.Connection, step: Step) -> dict[str, object]:
        """The worker's columns of the row, as they were some time before they are written back."""
        [change] = step.changes
        row = await app.fetchrow(f"SELECT {', '.join(WORKERS_COLUMNS)} FROM contacts WHERE id = $1", change.contact.id)
        await asyncio.sleep(STALE_S)
        return dict(row) if row is not None else {}

    async def _was_committed(self, step: Step) -> bool:
        """According to the row: the marker names the transaction that wrote it last."""
        if step.what == "roll back":
            return False
        change = step.changes[0]
        query = f"SELECT {MARKER} FROM contacts WHERE id = $1"
        row = await self._patiently(lambda app: app.fetchrow(query, change.contact.id))
        return row is None if change.deletes else row is not None and row[MARKER] == change.columns[MARKER]

    async def _patiently(self, work: Callable[[asyncpg.Connection], Awaitable[asyncpg.Record | None]]) -> asyncpg.Record | None:
        while True:
            try:
                return await work(await self._connected())
            except AWAY:
                self._hang_up()

    async def _connected(self) -> asyncpg.Connection:
        while True:
            if self._connection is not None and not self._connection.is_closed():
                return self._connection
            try:
                self._connection = await asyncpg.connect(self._url, command_timeout=STATEMENT_TIMEOUT_S)
                await self._connection.execute("SET application_name = 'chaos application'")
            except (*AWAY, asyncpg.PostgresError):
                await asyncio.sleep(RECONNECT_S)

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
