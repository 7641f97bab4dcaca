"""Columns of ours that the table has already: whether they can serve, and what a person should know of them."""

from collections.abc import Sequence

from crm_sync.adoption.connection import Connection
from crm_sync.errors import ConfigurationError
from crm_sync.postgres.statements import query, quote

STATES = ("Queued", "Processing", "Complete", "Error")  # those that workers write


def look_at_columns(connection: Connection, crms: Sequence[str], name: str) -> list[str]:
    """A sentence for each column that is there already and is kept. Raises ConfigurationError where one cannot serve."""
    kept = []
    for row in connection.execute(query("list_present_columns").encode(), (list(crms),)):
        if row["problem"] is not None:
            rename = f". Crm-sync needs this name: ALTER TABLE {name} RENAME COLUMN {quote(row['name'])} TO ..."
            advice = "" if "ALTER" in row["problem"] else rename
            raise ConfigurationError(f"the column {row['name']} of {name}, of the type {row['type']}, {row['problem']}{advice}")
        kept.append(row)
    _look_at_checks(connection, name, {row["name"] for row in kept if row["expected"] == "states"})
    added = {row["name"] for row in connection.execute(b"SELECT name FROM crm_sync.added WHERE kind = 'column'")}
    notes = []
    for row in kept:
        if row["name"] in added:
            continue
        lacks = "Selected" not in row["labels"] if row["labels"] and row["name"].endswith("_sync_status") else False
        # A value can be added to an enum, but never be taken off again.
        also = f", without Selected: ALTER TYPE {row['type']} ADD VALUE 'Selected' if you want to mark contacts" if lacks else ""
        notes.append(f"The column {row['name']} is there already and stays as it is ({row['type']}{also})")
    return notes


def _look_at_checks(connection: Connection, name: str, columns: set[str]) -> None:
    """Raises ConfigurationError where a constraint lets no worker write its states: not one contact could be claimed."""
    for check in connection.execute(query("list_checks").encode()).fetchall():
        if check["column"] not in columns:
            continue
        words = f"unnest('{{{','.join(STATES)}}}'::text[]) AS w (word)"
        statement = (
            f"SELECT w.word FROM {words} CROSS JOIN LATERAL "  # noqa: S608 (quoted by the server)
            f"(SELECT w.word::{check['type']} AS {quote(check['column'])}) AS c WHERE NOT ({check['expression']})"
        )
        refused = [row["word"] for row in connection.execute(statement.encode())]
        if refused:
            raise ConfigurationError(
                f"the constraint {check['name']} of {name} refuses {', '.join(refused)} in {check['column']}, "
                f"which workers write: ALTER TABLE {name} DROP CONSTRAINT {quote(check['name'])}, or make one that takes them"
            )
