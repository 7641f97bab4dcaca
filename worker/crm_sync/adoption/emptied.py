"""A database restored from a schema-only dump: crm-sync's tables exist, but are empty.

Test and branch databases are often made like this, from structure.sql, dbmate or pg_dump -s. Their former content can be derived:
applied migrations refuse to create their objects again, and the triggers show which CRMs are on which table. Which columns
crm-sync had added cannot be derived: an undo leaves them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import psycopg
from yoyo.internalmigrations import schema_versions
from yoyo.migrations import get_migration_hash

from crm_sync.adoption.connection import Connection, run, value
from crm_sync.adoption.migrations import names, statements
from crm_sync.adoption.table import AdoptionRequest, enter, find_table
from crm_sync.errors import ConfigurationError

WRITTEN_ANEW = (
    "The tables of crm-sync are empty, as after restoring a schema-only dump: their contents are written again. "
    "Which columns it had added is no longer known, so an undo leaves them"
)
_THERE_ALREADY = (
    psycopg.errors.DuplicateTable,
    psycopg.errors.DuplicateObject,
    psycopg.errors.DuplicateFunction,
    psycopg.errors.DuplicateColumn,
    psycopg.errors.DuplicateSchema,
)


@dataclass(frozen=True, slots=True)
class Restored:
    """pending: names of migrations that are not applied. request: the given one, for the table found."""

    pending: Sequence[str]
    request: AdoptionRequest


def restore(connection: Connection, request: AdoptionRequest) -> Restored | None:
    """Restores the content of the tables; None if it is there. In a transaction.

    Raises ConfigurationError if the request names a table other than the one with the triggers.
    """
    if not value(connection, "detect_migrations") or value(connection, "detect_notes"):
        return None
    applied = _applied(connection)
    run(connection, "note_version", max(schema_versions))
    for name in applied:
        run(connection, "note_migration", get_migration_hash(name), name)
    return Restored(names()[len(applied) :], _restore_lanes(connection, request) if applied else request)


def _applied(connection: Connection) -> list[str]:
    """Each migration is tried on its own and rolled back. The last one whose objects exist is applied, and so are those before
    it.
    """
    last = 0
    for number, name in enumerate(names(), 1):
        try:
            with connection.transaction(force_rollback=True):
                connection.execute(statements(name).encode())
        except _THERE_ALREADY:
            last = number
        except psycopg.Error:
            if connection.closed:
                raise
            # It builds on one that is not applied either.
    return names()[:last]


def _restore_lanes(connection: Connection, request: AdoptionRequest) -> AdoptionRequest:
    rows = run(connection, "find_lane_triggers").fetchall()
    tables = sorted({row["contacts"] for row in rows})
    if len(tables) > 1:
        raise ConfigurationError(f"crm-sync has triggers on several tables: {', '.join(tables)}. It can be on one only")
    if not tables:
        return request
    if request.table is None:
        request = replace(request, table=tables[0])
    meant, there = find_table(connection, request.table or ""), find_table(connection, tables[0])
    if meant is None or there is None or meant["relation"] != there["relation"]:
        raise ConfigurationError(
            f"CONTACTS_TABLE: crm-sync has its triggers on {tables[0]}, and {request.table} is another table"
        )
    enter(connection, request)
    for row in rows:
        run(connection, "restore_lane", row["crm"], row["remote_id_column"])
        if row["is_watched"]:
            run(connection, "create_watch_function", row["crm"])
        if row["on_delete"] is not None:
            run(connection, "restore_on_delete", row["crm"], row["on_delete"])
    return request
