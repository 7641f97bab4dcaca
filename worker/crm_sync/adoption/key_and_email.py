"""Which columns of the adopted table identify a row and contain the address: those the user names, or the obvious ones.

found: a row of find_table.sql. columns: the rows of list_keys.sql. Raises ConfigurationError that says what to name, or what to
change in the table.
"""

from collections.abc import Sequence
from typing import Any

from crm_sync.adoption.connection import Connection, run
from crm_sync.errors import ConfigurationError
from crm_sync.postgres.statements import quote

DEFAULT_EMAIL = "email"


def key_column(connection: Connection, found: dict[str, Any], columns: Sequence[dict[str, Any]], requested: str | None) -> str:
    """The column that identifies a row."""
    name = found["name"]
    primary = [column["name"] for column in columns if column["is_in_primary_key"]]
    if requested is None:
        if len(primary) == 1:
            return str(primary[0])
        has = f"has a primary key of several columns ({', '.join(primary)})" if primary else "has no primary key"
        raise ConfigurationError(f"{name} {has}: name the column that identifies a row in CONTACTS_KEY")
    column = _column(name, columns, requested, "CONTACTS_KEY")
    if not column["is_never_null"]:
        raise ConfigurationError(
            f"CONTACTS_KEY: {requested} can be NULL: ALTER TABLE {name} ALTER COLUMN {quote(requested)} SET NOT NULL"
        )
    if column["is_unique"]:
        return requested
    if found["kind"] == "r":
        raise ConfigurationError(
            f"CONTACTS_KEY: nothing keeps two rows of {name} from having the same {requested}: "
            f"CREATE UNIQUE INDEX CONCURRENTLY ON {name} ({quote(requested)})"
        )
    if not column["begins_an_index"]:
        raise ConfigurationError(
            f"CONTACTS_KEY: no index begins with {requested}, so looking up a row would read the whole table: "
            f"CREATE INDEX ON {name} ({quote(requested)})"
        )
    # On a partitioned table, no index can guarantee that it is unique across partitions.
    variables = {"contacts": name, "id": quote(requested)}
    if run(connection, "find_duplicate_key", variables=variables).fetchone() is not None:
        raise ConfigurationError(f"CONTACTS_KEY: several rows of {name} have the same {requested}, so it does not identify a row")
    return requested


def email_column(name: str, columns: Sequence[dict[str, Any]], requested: str | None) -> str:
    """The column with the address."""
    if requested is not None:
        _column(name, columns, requested, "CONTACTS_EMAIL")
        return requested
    if any(column["name"] == DEFAULT_EMAIL for column in columns):
        return DEFAULT_EMAIL
    candidates = [column["name"] for column in columns if column["may_be_email"]]
    likely = f" (it may be {' or '.join(candidates)})" if candidates else ""
    raise ConfigurationError(f"{name} has no column email: name the one with the address in CONTACTS_EMAIL{likely}")


def _column(name: str, columns: Sequence[dict[str, Any]], requested: str, setting: str) -> dict[str, Any]:
    for column in columns:
        if column["name"] == requested:
            return column
    raise ConfigurationError(f"{setting}: {name} has no column {requested}")
