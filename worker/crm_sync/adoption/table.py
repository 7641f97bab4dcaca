"""The table that is to be adopted: which one a person means, what is there already, and why it cannot be, if it cannot."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg

from crm_sync.adoption.connection import Connection, value
from crm_sync.errors import ConfigurationError
from crm_sync.postgres.statements import folder, query, quote, render

DEFAULT_TABLE = "contacts"
DEFAULT_EMAIL = "email"
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
class Wish:
    """What a person asks for; None where nothing is said. crms: those to install, beside those that are."""

    table: str | None = None
    key: str | None = None
    email: str | None = None
    crms: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """name: as SQL writes it. created: by crm-sync. notes: what a person should know, a sentence each."""

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


def enter(connection: Connection, wish: Wish) -> Table:
    """Finds the table, makes it where none is named and there is none, and enters it as the adopted one. In a transaction.

    Raises ConfigurationError naming what is in the way and what to do.
    """
    adopted = connection.execute(query("read_adoption").encode()).fetchone()
    if adopted is not None:
        return _again(connection, wish, adopted)
    found = _find(connection, wish.table or DEFAULT_TABLE)
    created = found is None and wish.table is None
    if created:
        connection.execute((folder() / "adopt" / "create_contacts.sql").read_text().encode())
        found = _find(connection, DEFAULT_TABLE)
    if found is None:
        raise ConfigurationError(f"CONTACTS_TABLE: there is no table {wish.table}, or it is not on the search_path")
    _refuse(found)
    columns = connection.execute(query("list_keys").encode(), (found["relation"],)).fetchall()
    key = _key(connection, found, columns, wish.key)
    email = _email(found["name"], columns, wish.email)
    connection.execute(
        b"INSERT INTO crm_sync.adopted (contacts, key_column, email_column, created) VALUES ($1::oid, $2, $3, $4)",
        (found["relation"], key, email, created),
    )
    return _table(found, columns, key, email, created=created)


def _again(connection: Connection, wish: Wish, adopted: dict[str, Any]) -> Table:
    name = adopted["name"]
    if name is None:
        raise ConfigurationError("the adopted table is gone: run `crm-sync adopt --undo`, then adopt another one")
    found = _find(connection, name)
    if found is None:
        raise ConfigurationError(f"the role may not see the adopted table {name}")
    if wish.table is not None:
        other = _find(connection, wish.table)
        if other is None or other["relation"] != adopted["relation"]:
            raise ConfigurationError(
                f"CONTACTS_TABLE: {wish.table} is not the table that is adopted here, which is {name}. A database has one: "
                "run `crm-sync adopt --undo` first"
            )
    _refuse(found)
    columns = connection.execute(query("list_keys").encode(), (found["relation"],)).fetchall()
    names = {column["name"] for column in columns}
    key, email = adopted["key_column"], adopted["email_column"]
    if key not in names or email not in names:
        # Renamed since.
        key = key if key in names else _key(connection, found, columns, wish.key)
        email = email if email in names else _email(name, columns, wish.email)
        connection.execute(b"UPDATE crm_sync.adopted SET key_column = $1, email_column = $2", (key, email))
        connection.execute(b"SELECT crm_sync.create_flip_function(crm) FROM crm_sync.lanes WHERE installed")
        connection.execute(b"SELECT crm_sync.set_on_delete(crm, on_delete) FROM crm_sync.lanes WHERE on_delete <> 'keep'")
    for setting, wished, column in (("KEY", wish.key, key), ("EMAIL", wish.email, email)):
        if wished is not None and wished != column:
            raise ConfigurationError(
                f"CONTACTS_{setting}: {name} is adopted with {column}, not {wished}. To change that, undo the adoption first: "
                "`crm-sync adopt --undo`"
            )
    return _table(found, columns, key, email, created=adopted["created"])


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


def _find(connection: Connection, name: str) -> dict[str, Any] | None:
    try:
        return connection.execute(query("find_table").encode(), (name,)).fetchone()
    except (psycopg.errors.InvalidName, psycopg.errors.SyntaxError, psycopg.errors.FeatureNotSupported) as error:
        raise ConfigurationError(f"CONTACTS_TABLE: {name} is no name of a table; expected one such as crm.people") from error


def _refuse(found: dict[str, Any]) -> None:
    name = found["name"]
    if found["kind"] in _KINDS:
        raise ConfigurationError(f"{name} is a {_KINDS[found['kind']]}: only a table can be adopted")
    if found["is_partition"]:
        raise ConfigurationError(f"{name} is a partition: adopt the table that it belongs to")
    if found["has_foreign_partitions"]:
        raise ConfigurationError(
            f"{name} has partitions that are foreign tables, which take no triggers of ours: detach them first"
        )
    if found["has_heirs"]:
        raise ConfigurationError(
            f"{name} has tables that inherit from it, and no trigger of ours sees their rows: make them partitions, or adopt one"
        )
    if not found["is_owner"]:
        raise ConfigurationError(
            f"{name} belongs to {found['owner']}, and the role {found['role']} may not change it: run this as {found['owner']}, "
            f"or GRANT {quote(found['owner'])} TO {quote(found['role'])}"
        )
    if not found["may_create"]:
        raise ConfigurationError(
            f"the role {found['role']} may create no indexes and types in the schema of {name}: let its owner run "
            f"GRANT CREATE ON SCHEMA {quote(found['namespace'])} TO {quote(found['role'])}"
        )


def _key(connection: Connection, found: dict[str, Any], columns: Sequence[dict[str, Any]], wished: str | None) -> str:
    """The column that finds a row alone."""
    name = found["name"]
    primary = [column["name"] for column in columns if column["is_in_primary_key"]]
    if wished is None:
        if len(primary) == 1:
            return str(primary[0])
        has = f"has a primary key of several columns ({', '.join(primary)})" if primary else "has no primary key"
        raise ConfigurationError(f"{name} {has}: name the column that finds a row alone with CONTACTS_KEY")
    column = _column(name, columns, wished, "CONTACTS_KEY")
    if not column["is_never_null"]:
        raise ConfigurationError(
            f"CONTACTS_KEY: {wished} can be NULL: ALTER TABLE {name} ALTER COLUMN {quote(wished)} SET NOT NULL"
        )
    if column["is_unique"]:
        return wished
    if found["kind"] == "r":
        raise ConfigurationError(
            f"CONTACTS_KEY: nothing keeps two rows of {name} from having the same {wished}: "
            f"CREATE UNIQUE INDEX CONCURRENTLY ON {name} ({quote(wished)})"
        )
    if not column["begins_an_index"]:
        raise ConfigurationError(
            f"CONTACTS_KEY: no index begins with {wished}, so that looking up a row would read the whole table: "
            f"CREATE INDEX ON {name} ({quote(wished)})"
        )
    # On a partitioned table no index can say that it is unique over all partitions.
    variables = {"contacts": name, "id": quote(wished)}
    if connection.execute(render("find_duplicate_key", variables).encode()).fetchone() is not None:
        raise ConfigurationError(f"CONTACTS_KEY: several rows of {name} have the same {wished}, so it finds none alone")
    return wished


def _email(name: str, columns: Sequence[dict[str, Any]], wished: str | None) -> str:
    if wished is not None:
        _column(name, columns, wished, "CONTACTS_EMAIL")
        return wished
    if any(column["name"] == DEFAULT_EMAIL for column in columns):
        return DEFAULT_EMAIL
    candidates = [column["name"] for column in columns if column["may_be_email"]]
    likely = f" (it may be {' or '.join(candidates)})" if candidates else ""
    raise ConfigurationError(f"{name} has no column email: name the one with the address in CONTACTS_EMAIL{likely}")


def _column(name: str, columns: Sequence[dict[str, Any]], wished: str, setting: str) -> dict[str, Any]:
    for column in columns:
        if column["name"] == wished:
            return column
    raise ConfigurationError(f"{setting}: {name} has no column {wished}")


def server_number(connection: Connection) -> int:
    number: int = value(connection, "SELECT current_setting('server_version_num')::integer")
    return number
