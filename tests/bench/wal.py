"""What Postgres wrote to its WAL between two moments, record by record, according to the server's own `pg_waldump`."""

import asyncio
import re
import subprocess
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import asyncpg

from crm_sync.sandbox.postgres import Postgres

ALIGNMENT = 8  # of a record in the log
RECORD = re.compile(r"rmgr: (\w+)\s+len \(rec/tot\):\s*\d+/\s*(\d+), tx:\s*\d+, lsn: \S+, prev \S+, desc: (\w+)(.*)")
RELATION = re.compile(r"rel \d+/(\d+)/(\d+)")
HOUSEKEEPING = {"XLOG", "Standby"}  # of the server
UPDATES = {"UPDATE", "HOT_UPDATE"}
# A leaf split includes the new entry; a split further up belongs to a leaf split.
ENTRIES = {"INSERT_LEAF", "INSERT_POST"}
SPLITS = {"SPLIT_L", "SPLIT_R"}
OF_A_LEAF = re.compile(r"level:? 0\b")


@dataclass(slots=True)
class Wal:
    """bytes: of all records. updates: by table and kind. entries: by index. Relations are identified by file number."""

    bytes: int = 0
    updates: Counter[tuple[int, str]] = field(default_factory=Counter)
    entries: Counter[int] = field(default_factory=Counter)

    def heap_only(self, table: int) -> float:
        """The share of its updates that touched no index."""
        hot, other = self.updates[table, "HOT_UPDATE"], self.updates[table, "UPDATE"]
        return hot / (hot + other)


@asynccontextmanager
async def recorded(server: Postgres, connection: asyncpg.Connection) -> AsyncIterator[Wal]:
    """Filled when the block ends. connection: of a superuser, not in a transaction; its database is counted.

    Raises RuntimeError on a server with full-page images: which pages have one depends on the time of the last checkpoint.
    """
    if await connection.fetchval("SHOW full_page_writes") != "off":
        raise RuntimeError("full-page images would be counted: start the server with full_page_writes=off")
    wal = Wal()
    # A temporary slot keeps the WAL from being recycled while it is read.
    slot = await connection.fetchval("SELECT slot_name FROM pg_create_physical_replication_slot('recorded', true, true)")
    try:
        database = await connection.fetchval("SELECT oid::bigint FROM pg_database WHERE datname = current_database()")
        start = await connection.fetchval("SELECT pg_current_wal_insert_lsn()::text")
        yield wal
        end = await connection.fetchval("SELECT pg_current_wal_insert_lsn()::text")
        await connection.execute("SELECT pg_switch_wal()")  # writes the last of it to the file
        for line in await asyncio.to_thread(_dump, server, start, end):
            _count(wal, line, database)
    finally:
        await connection.execute("SELECT pg_drop_replication_slot($1)", slot)


def _dump(server: Postgres, start: str, end: str) -> list[str]:
    command = [server.binaries / "pg_waldump", "--path", server.data / "pg_wal", "--start", start, "--end", end]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise RuntimeError(f"pg_waldump failed: {run.stderr[-500:]}")
    return run.stdout.splitlines()


def _count(wal: Wal, line: str, database: int) -> None:
    record = RECORD.match(line)
    if record is None:
        raise RuntimeError(f"pg_waldump says what is no record: {line[:200]}")
    manager, length, kind, rest = record[1], int(record[2]), record[3], record[4]
    relation = RELATION.search(rest)
    if manager in HOUSEKEEPING or (relation and int(relation[1]) != database):
        return
    wal.bytes += -(-length // ALIGNMENT) * ALIGNMENT
    if relation is None:
        return
    number = int(relation[2])
    if manager == "Heap" and kind in UPDATES:
        wal.updates[number, kind] += 1
    elif manager == "Btree" and (kind in ENTRIES or (kind in SPLITS and OF_A_LEAF.search(rest))):
        wal.entries[number] += 1
