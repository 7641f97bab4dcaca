"""The application: a separate process that writes at a steady pace to the table of field.py, and reports how long it waited.

    python -m tests.adoption.load URL --rows 100000

A word on its standard input begins a part with that name. At the end it prints, as JSON, the longest wait of a writer in each
part, and the longest on a table that nothing else uses, which measures how late the machine itself is.
"""

import asyncio
import json
import random
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import click

WRITES_A_SECOND = 200
CONTROL_A_SECOND = 100
WRITERS = 20  # connections, each with its own rows
OPEN_S = 0.05  # a transaction that stays open for a while
HUBSPOT = ("New", "Queued", "Skipped", "On hold")


@dataclass
class Part:
    """Seconds, longest first where several are kept."""

    writes: int = 0
    longest: float = 0.0
    longest_of_control: float = 0.0
    over_100_ms: int = 0
    failed: list[str] = field(default_factory=list)


class Application:
    """Its last committed writes are recorded, and compared with the table at the end."""

    def __init__(self, rows: int, seed: int) -> None:
        self._rows = rows
        self._seed = seed
        self._chance = random.Random(seed)
        self._ledger: dict[str, str | None] = {}  # the note of each person that was written, None if deleted
        self._own: dict[int, list[str]] = defaultdict(list)
        self._number = 0
        self.parts: dict[str, Part] = {}
        self.part = Part()

    def begin(self, name: str) -> None:
        self.part = self.parts.setdefault(name, Part())

    async def write(self, connection: asyncpg.Connection, writer: int) -> None:
        """One transaction."""
        self._number += 1
        note = f"note {self._number}"
        kind = self._chance.random()
        own = self._own[writer]
        if kind < 0.25 or not own:
            person = f"w{self._seed}-{self._number}"
            await self._timed(
                connection,
                "INSERT INTO crm.people (id, email, first_name, note, hubspot_sync_status) VALUES ($1, $2, 'Grace', $3, $4)",
                *(person, f"{person}@example.com", note, self._chance.choice(("New", "Queued"))),
            )
            own.append(person)
        elif kind < 0.30:
            person, note = own.pop(self._chance.randrange(len(own))), None
            await self._timed(connection, "DELETE FROM crm.people WHERE id = $1", person)
        elif kind < 0.40:
            await self._timed(connection, "INSERT INTO crm.orders (person_id) VALUES ($1)", self._chance.choice(own))
            return
        else:
            # About its own people, or those that existed before.
            old = self._chance.randrange(self._rows // WRITERS) * WRITERS + writer + 1
            person = self._chance.choice(own) if kind < 0.6 else f"p-{old}"
            if kind < 0.75:
                await self._timed(
                    connection, "UPDATE crm.people SET note = $2, amount_1 = amount_1 + 1 WHERE id = $1", person, note
                )
            elif kind < 0.95:
                status = self._chance.choice(HUBSPOT)
                statement = "UPDATE crm.people SET note = $2, hubspot_sync_status = $3 WHERE id = $1"
                await self._timed(connection, statement, person, note, status)
            else:
                async with self._open(connection):
                    await self._timed(connection, "UPDATE crm.people SET note = $2 WHERE id = $1", person, "not yet")
                    await asyncio.sleep(OPEN_S)
                    await self._timed(connection, "UPDATE crm.people SET note = $2 WHERE id = $1", person, note)
        self._ledger[person] = note

    async def beat(self, connection: asyncpg.Connection, writer: int) -> None:
        """The same update, but never blocked."""
        part, started = self.part, time.perf_counter()
        await connection.execute("UPDATE crm.control SET beats = beats + 1 WHERE id = $1", writer)
        part.longest_of_control = max(part.longest_of_control, time.perf_counter() - started)

    async def _timed(self, connection: asyncpg.Connection, statement: str, *arguments: Any) -> None:
        started = time.perf_counter()
        await connection.execute(statement, *arguments)
        self._waited(time.perf_counter() - started)

    def _waited(self, seconds: float) -> None:
        self.part.writes += 1
        self.part.longest = max(self.part.longest, seconds)
        self.part.over_100_ms += seconds > 0.1

    @asynccontextmanager
    async def _open(self, connection: asyncpg.Connection) -> AsyncIterator[None]:
        transaction = connection.transaction()
        await transaction.start()
        yield
        started = time.perf_counter()
        await transaction.commit()
        self._waited(time.perf_counter() - started)

    async def differences(self, connection: asyncpg.Connection) -> int:
        """People whose row does not have the last value written."""
        rows = await connection.fetch("SELECT id, note FROM crm.people WHERE id = ANY ($1::text[])", list(self._ledger))
        there = {row["id"]: row["note"] for row in rows}
        return sum(there.get(person) != note for person, note in self._ledger.items())


async def _steadily(
    application: Application, url: str, writer: int, every_s: float, stop: asyncio.Event, *, control: bool
) -> None:
    connection = await asyncpg.connect(url)
    act = application.beat if control else application.write
    due = time.perf_counter() + random.random() * every_s
    while not stop.is_set():
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        try:
            await act(connection, writer)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            application.part.failed.append(f"{type(error).__name__}: {error}")
            if connection.is_closed():
                return
        # A writer that was held up catches up, as applications do.
        due = max(due + every_s, time.perf_counter() - 1.0)
    await connection.close()


async def _run(url: str, rows: int, rate: float, seed: int) -> dict[str, Any]:
    application, stop = Application(rows, seed), asyncio.Event()
    application.begin("starting")
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    every = {False: WRITERS / rate, True: WRITERS / CONTROL_A_SECOND}
    async with asyncio.TaskGroup() as group:
        for writer in range(WRITERS):
            for control, every_s in every.items():
                group.create_task(_steadily(application, url, writer, every_s, stop, control=control))
        print("writing", flush=True)
        while word := (await reader.readline()).decode().strip():
            application.begin(word)
        stop.set()
    connection = await asyncpg.connect(url)
    differences = await application.differences(connection)
    await connection.close()
    return {"differences": differences, "parts": {name: vars(part) for name, part in application.parts.items()}}


@click.command()
@click.argument("url")
@click.option("--rows", required=True, type=int)
@click.option("--rate", default=float(WRITES_A_SECOND))
@click.option("--seed", default=1)
def main(url: str, rows: int, rate: float, seed: int) -> None:
    print(json.dumps(asyncio.run(_run(url, rows, rate, seed))))


if __name__ == "__main__":
    main()
