"""Which tables of a database may be an application's contacts, for someone who sets up crm-sync."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from crm_sync.adoption.connection import Connection, connected, run, value
from crm_sync.adoption.key_and_email import DEFAULT_EMAIL
from crm_sync.adoption.table import find_table
from crm_sync.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Column:
    """written: its name as SQL writes it. may_be_key: it identifies a row. may_be_email: judging by its name and type."""

    name: str
    written: str
    type: str
    is_text: bool
    may_be_key: bool
    may_be_email: bool


@dataclass(frozen=True, slots=True)
class Candidate:
    """name: as SQL writes it. key, email: the columns that are used if the user names none; None if it is not clear."""

    name: str
    rows: int
    columns: Sequence[Column]
    key: str | None
    email: str | None

    @property
    def keys(self) -> list[str]:
        return [column.name for column in self.columns if column.may_be_key]

    @property
    def emails(self) -> list[str]:
        return [column.name for column in self.columns if column.may_be_email]


def candidates(url: str, named: str | None = None) -> list[Candidate]:
    """Most likely first. If a table is adopted, only that one; otherwise, if the user names one, only that one.

    Raises ConfigurationError if it does not exist, or DatabaseTroubleError.
    """
    with connected(url) as connection, connection.transaction():
        if value(connection, "detect_adoption"):
            adopted = run(connection, "read_adoption").fetchone()
            if adopted is not None and adopted["name"] is not None:
                columns = _columns(connection, adopted["relation"])
                return [Candidate(adopted["name"], 0, columns, adopted["key_column"], adopted["email_column"])]
        if named is None:
            found = run(connection, "list_candidates").fetchall()
        else:
            table = find_table(connection, named)
            if table is None:
                raise ConfigurationError(f"CONTACTS_TABLE: there is no table {named}, or it is not on the search_path")
            found = [table]
        return [_candidate(connection, row) for row in found]


def _candidate(connection: Connection, row: dict[str, Any]) -> Candidate:
    described = run(connection, "list_keys", row["relation"]).fetchall()
    primary = [column["name"] for column in described if column["is_in_primary_key"]]
    columns = [_column(column) for column in described]
    emails = [column.name for column in columns if column.may_be_email]
    email = DEFAULT_EMAIL if DEFAULT_EMAIL in emails else emails[0] if len(emails) == 1 else None
    return Candidate(row["name"], row["rows"], columns, primary[0] if len(primary) == 1 else None, email)


def _columns(connection: Connection, relation: int) -> list[Column]:
    return [_column(column) for column in run(connection, "list_keys", relation).fetchall()]


def _column(row: dict[str, Any]) -> Column:
    may_be_key = row["is_never_null"] and row["is_unique"]
    return Column(row["name"], row["written"], row["type"], row["is_text"], may_be_key, row["may_be_email"])
