"""The table to be adopted: which one the user means, what it has already, and if it cannot be adopted, why."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg

from crm_sync.adoption.connection import Connection, run, value
from crm_sync.adoption.key_and_email import email_column, key_column
from crm_sync.core.table_words import obstacle
from crm_sync.errors import ConfigurationError
from crm_sync.postgres.session_settings import search_path
from crm_sync.postgres.statements import folder, quote, set_to

DEFAULT_TABLE = "contacts"
OLDEST_SERVER = 150000  # PostgreSQL 15

_KINDS = {
    "v": "view",
    "m": "materialized view",
    "f": "foreign table",
    "S": "sequence",
    "i": "index",
    "c": "type",
    "t": "TOAST table",
}


@dataclass(frozen=True, slots=True)
class AdoptionRequest:
    """What the user asks for; None if not given. crms: those to install in addition to the installed ones. default_crms: those to
    install if there are neither. create: create the table if none is named and none exists.
    """

    table: str | None = None
    key: str | None = None
    email: str | None = None
    crms: Sequence[str] = ()
    default_crms: Sequence[str] = ()
    create: bool = True


@dataclass(frozen=True, slots=True)
class Table:
    """name: as SQL writes it. created: by crm-sync. notes: what the user should know, one sentence each."""

    name: str
    relation: int
    rows: int
    bytes: int
    partitions: int
    key: str
    key_type: str
    email: str
    email_type: str
    created: bool
    server: str
    notes: list[str] = field(default_factory=list)


def enter(connection: Connection, request: AdoptionRequest) -> Table:
    """Finds the table, or creates it if none is named and none exists, and records it as the adopted one. In a transaction.

    Raises ConfigurationError that names the obstacle and what to do.
    """
    adopted = run(connection, "read_adoption").fetchone()
    if adopted is not None:
        return _again(connection, request, adopted)
    found = find_table(connection, request.table or DEFAULT_TABLE)
    created = found is None and request.table is None
    if created and not request.create:
        raise ConfigurationError(
            f"there is no table {DEFAULT_TABLE}, or it is not on the search_path. If yours has another name, set CONTACTS_TABLE"
            f"{_namesakes(connection, DEFAULT_TABLE)}. `crm-sync migrate --create` makes one"
        )
    if created:
        with _own_path(connection):
            connection.execute((folder() / "adopt" / "create_contacts.sql").read_text().encode())
        found = find_table(connection, DEFAULT_TABLE)
    if found is None:
        raise ConfigurationError(
            f"CONTACTS_TABLE: there is no table {request.table}, or it is not on the search_path"
            f"{_namesakes(connection, request.table)}"
        )
    _refuse(found)
    columns = run(connection, "list_keys", found["relation"]).fetchall()
    key = key_column(connection, found, columns, request.key)
    email = email_column(found["name"], columns, request.email)
    run(connection, "enter_table", found["relation"], key, email, created)
    if value(connection, "detect_names"):
        run(connection, "note_name")
    _refuse_obstacles(connection, found["name"], key)
    return _table(found, columns, key, email, created=created)


def _namesakes(connection: Connection, name: str | None) -> str:
    """Those in other schemas, one of which may be meant."""
    names = [row["name"] for row in run(connection, "list_namesakes", name)]
    return f". Perhaps {' or '.join(names)} is meant" if names else ""


def _again(connection: Connection, request: AdoptionRequest, adopted: dict[str, Any]) -> Table:
    if (copy := _copy_in_its_place(connection, request)) is not None:
        return _go_over(connection, adopted, copy)
    name = adopted["name"]
    if name is None:
        raise ConfigurationError("the adopted table is gone: run `crm-sync adopt --undo`, then adopt another one")
    found = find_table(connection, name)
    if found is None:
        raise ConfigurationError(f"the role may not see the adopted table {name}")
    if request.table is not None:
        other = find_table(connection, request.table)
        if other is None or other["relation"] != adopted["relation"]:
            raise ConfigurationError(
                f"CONTACTS_TABLE: {request.table} is not the adopted table, which is {name}. A database has only one: "
                "run `crm-sync adopt --undo` first"
            )
    _refuse(found)
    columns = run(connection, "list_keys", found["relation"]).fetchall()
    names = {column["name"] for column in columns}
    key, email = adopted["key_column"], adopted["email_column"]
    if key not in names or email not in names:
        # Renamed since.
        key = key if key in names else key_column(connection, found, columns, request.key)
        email = email if email in names else email_column(name, columns, request.email)
        run(connection, "rename_columns", key, email)
        run(connection, "create_flip_functions")
        run(connection, "renew_on_delete")
    for setting, requested, column in (("KEY", request.key, key), ("EMAIL", request.email, email)):
        if requested is not None and requested != column:
            raise ConfigurationError(
                f"CONTACTS_{setting}: {name} is adopted with {column}, not {requested}. To change that, undo the adoption first: "
                "`crm-sync adopt --undo`"
            )
    run(connection, "note_name")
    _refuse_obstacles(connection, name, key)
    return _table(found, columns, key, email, created=adopted["created"])


def _copy_in_its_place(connection: Connection, request: AdoptionRequest) -> dict[str, Any] | None:
    """The table that now has the name of the adopted one, unless the user names another one; a row of find_table.sql, with the
    CRMs that watch columns.
    """
    copy = run(connection, "find_copy").fetchone()
    if copy is None:
        return None
    if request.table is not None:
        meant = find_table(connection, request.table)
        if meant is None or meant["relation"] != copy["relation"]:
            return None
    found = find_table(connection, copy["name"])
    return None if found is None else {**found, "watched": copy["watched"]}


def _go_over(connection: Connection, adopted: dict[str, Any], copy: dict[str, Any]) -> Table:
    """A tool that changes tables by copying has swapped the two: from now on the copy is the adopted one. What it lacks is added
    by steps.
    """
    former, name, key, email = adopted["name"], copy["name"], adopted["key_column"], adopted["email_column"]
    other = f"is not the table that was adopted, which is {f'called {former}' if former else 'gone'} now"
    _refuse(copy)
    columns = run(connection, "list_keys", copy["relation"]).fetchall()
    names = {column["name"] for column in columns}
    for column in (key, email):
        if column not in names:
            stay = f", or, to keep {former}, set CONTACTS_TABLE to it" if former else ""
            raise ConfigurationError(f"{name} {other}, and has no column {column}: give it one{stay}")
    key_column(connection, copy, columns, key)
    run(connection, "follow_copy", copy["relation"])
    run(connection, "create_flip_functions")
    _refuse_obstacles(connection, name, key)
    table = _table(copy, columns, key, email, created=adopted["created"])
    table.notes.append(
        f"{name} {other}. crm-sync switches to it{f', and removes its triggers from {former}' if former else ''}. Run `crm-sync "
        "grants` for the worker's role afterwards"
    )
    if copy["watched"] and not former:
        table.notes.append(
            f"Which columns {' and '.join(copy['watched'])} watched is no longer known: run `crm-sync watch` again"
        )
    return table


def _refuse_obstacles(connection: Connection, name: str, key: str) -> None:
    for row in run(connection, "list_obstacles").fetchall():
        raise ConfigurationError(obstacle(row["kind"], row["name"], name, key))


def _table(found: dict[str, Any], columns: Sequence[dict[str, Any]], key: str, email: str, *, created: bool) -> Table:
    types = {column["name"]: column["type"] for column in columns}
    return Table(
        name=found["name"],
        relation=found["relation"],
        rows=found["rows"],
        bytes=found["bytes"],
        partitions=found["partitions"],
        key=key,
        key_type=types.get(key, "gone"),
        email=email,
        email_type=types.get(email, "gone"),
        created=created,
        server=found["server_version"],
        notes=[
            f"{found['name']} has row level security. A worker's role needs a policy for all rows: `crm-sync grants` prints it"
        ]
        if found["has_row_security"]
        else [],
    )


def find_table(connection: Connection, name: str) -> dict[str, Any] | None:
    """A row of find_table.sql, in a transaction. An unqualified name is looked up as the user would expect: in the search_path of
    the role or the URL. Raises ConfigurationError for an invalid name.
    """
    try:
        relation = value(connection, "resolve_table", name)
        if relation is None:
            with _own_path(connection):
                relation = value(connection, "resolve_table", name)
        return run(connection, "find_table", relation).fetchone()
    except (psycopg.errors.InvalidName, psycopg.errors.SyntaxError, psycopg.errors.FeatureNotSupported) as error:
        raise ConfigurationError(f"CONTACTS_TABLE: {name} is not the name of a table; expected one such as crm.people") from error


@contextmanager
def _own_path(connection: Connection) -> Iterator[None]:
    """Inside a transaction, to look up names of tables and types only."""
    connection.execute(set_to({"search_path": "DEFAULT"}, local=True).encode())
    yield
    connection.execute(set_to(search_path(), local=True).encode())


def _refuse(found: dict[str, Any]) -> None:
    name = found["name"]
    if found["kind"] in _KINDS:
        raise ConfigurationError(f"{name} is a {_KINDS[found['kind']]}: only a table can be adopted")
    if found["is_partition"]:
        raise ConfigurationError(f"{name} is a partition: adopt the table that it belongs to")
    if found["has_foreign_partitions"]:
        raise ConfigurationError(
            f"{name} has partitions that are foreign tables, which cannot have crm-sync's triggers: detach them first"
        )
    if found["has_heirs"]:
        raise ConfigurationError(
            f"{name} has tables that inherit from it, and crm-sync's triggers do not see their rows: make them partitions, or "
            f"adopt one"
        )
    if not found["is_owner"]:
        raise ConfigurationError(
            f"{name} belongs to {found['owner']}, and the role {found['role']} cannot change it: run this as {found['owner']}, "
            f"or GRANT {quote(found['owner'])} TO {quote(found['role'])}"
        )
    if not found["may_create"]:
        raise ConfigurationError(
            f"the role {found['role']} may create no indexes and types in the schema of {name}: let its owner run "
            f"GRANT CREATE ON SCHEMA {quote(found['namespace'])} TO {quote(found['role'])}"
        )


def server_number(connection: Connection) -> int:
    """150004: major and minor version."""
    return connection.info.server_version
