"""Columns with our names that the table already has: whether they can be used, and what the user should know about them."""

from collections.abc import Sequence

from crm_sync.adoption.connection import Connection, run
from crm_sync.core.table_words import narrow_note
from crm_sync.errors import ConfigurationError
from crm_sync.postgres.statements import quote

STATES = ("Queued", "Processing", "Complete", "Error")  # those that workers write


def inspect_columns(connection: Connection, crms: Sequence[str], name: str) -> list[str]:
    """A sentence for each column that exists already and is kept. Raises ConfigurationError if one cannot be used."""
    kept = []
    for row in run(connection, "list_present_columns", list(crms)):
        if row["problem"] is not None:
            rename = f". Crm-sync needs this name: ALTER TABLE {name} RENAME COLUMN {quote(row['name'])} TO ..."
            advice = "" if "ALTER" in row["problem"] else rename
            raise ConfigurationError(f"the column {row['name']} of {name}, of the type {row['type']}, {row['problem']}{advice}")
        kept.append(row)
    _inspect_checks(connection, name, {row["name"] for row in kept if row["expected"] == "states"})
    added = {row["name"] for row in run(connection, "list_added_columns")}
    notes = []
    for row in kept:
        if row["name"] in added:
            continue
        lacks = "Selected" not in row["labels"] if row["labels"] and row["name"].endswith("_sync_status") else False
        # A value can be added to an enum, but never be removed.
        also = f", without Selected: ALTER TYPE {row['type']} ADD VALUE 'Selected' if you want to mark contacts" if lacks else ""
        notes.append(f"The column {row['name']} exists already and is kept as it is ({row['type']}{also})")
    ids = {row["crm"]: row["name"] for row in kept if row["expected"] == "id"}
    return notes + [
        _sentence(narrow_note(row["name"], row["kind"], row["type"], row["constraint_name"]))
        for row in run(connection, "list_narrow_columns", list(crms), [ids.get(crm) for crm in crms])
    ]


def _sentence(note: str) -> str:
    return note[0].upper() + note[1:]


def refuse_foreign_types(connection: Connection) -> None:
    """Raises ConfigurationError if a type with one of our names belongs to a role without rights over the table."""
    for row in run(connection, "find_foreign_types"):
        raise ConfigurationError(
            f"the type {row['name']} exists already and belongs to {row['owner']}, who could use it to run SQL as anyone who "
            f"writes to the table: DROP TYPE {row['name']}, or make the owner of the table its owner"
        )


def _inspect_checks(connection: Connection, name: str, columns: set[str]) -> None:
    """Raises ConfigurationError if a constraint forbids the states that workers write: no contact could be claimed."""
    for check in run(connection, "list_checks").fetchall():
        if check["column"] not in columns:
            continue
        asked = {"column_type": check["type"], "column": quote(check["column"]), "check": check["expression"]}
        refused = [row["word"] for row in run(connection, "find_refused_states", list(STATES), variables=asked)]
        if refused:
            raise ConfigurationError(
                f"the constraint {check['name']} of {name} refuses {', '.join(refused)} in {check['column']}, "
                f"which workers write: ALTER TABLE {name} DROP CONSTRAINT {quote(check['name'])}, or replace it with one that "
                f"allows them"
            )
