"""The columns that a CRM has on the contacts table: names and types from sql/schema.sql, with Brevo's as the example."""

import re
from collections.abc import Callable, Mapping
from functools import partial

from docs.generate.sql import SCHEMA
from docs.generate.tables import code, table

# Which side writes it, and what it says.
_OF_A_CRM = {
    "sync_status": ("you and the worker", "What is wanted. You write `New`, `Selected`, `Queued` or `Skipped`; the worker answers with `Processing`, `Complete` or `Error`."),
    "processing_status": ("the worker", "What is happening: `Queued` (in line, or waiting until it is due), `Processing` (in flight), `Complete`, `Error`."),
    "processing_error": ("the worker", "`CODE: reason`. On a contact that is Complete: what could not be sent with it."),
    "contact_id": ("the worker", "The contact's id in the CRM. n8n's column is `n8n_workflow_id`."),
    "attempts": ("the worker", "Claims since the last flip by the application."),
    "due_at": ("the worker", "When the contact may be claimed; also its place in line."),
    "claimed_by": ("the worker", "The claim that has it in flight, else NULL. `claimed_by >> 32` is the worker's id."),
    "synced_at": ("the worker", "The last successful delivery."),
    "flipped_at": ("the worker", "The last flip. A contact that crm-sync itself sends once more keeps it."),
}  # fmt: skip
_SHARED = {
    "retry_count": ("the worker", "Retries so far at the CRM that failed last."),
    "last_retry_at": ("the worker", "When the last retry was."),
    "next_retry_at": ("the worker", "The earliest retry to come, over all CRMs."),
    "last_failed_crm": ("the worker", "The CRM that failed last."),
}


def _columns() -> Mapping[str, str]:
    [made] = re.findall(r"^CREATE TABLE public\.contacts \(\n(.*?)^\)", SCHEMA, re.MULTILINE | re.DOTALL)
    return {
        name: re.sub(r" (?:DEFAULT|NOT NULL).*|,$", "", kind)
        .replace("timestamp with time zone", "timestamptz")
        .replace("public.", "")
        for name, kind in re.findall(r"^    (\w+) (.*)$", made, re.MULTILINE)
    }


def _table(prefix: str, explained: Mapping[str, tuple[str, str]]) -> str:
    there = {name.removeprefix(prefix): kind for name, kind in _columns().items() if name.startswith(prefix)}
    if prefix and set(there) != set(explained):
        raise ValueError(f"docs/generate/columns.py explains other columns than there are: {set(there) ^ set(explained)}")
    rows = [[code(prefix + name), code(there[name]), who, meaning] for name, (who, meaning) in explained.items()]
    return table(["column", "type", "written by", "meaning"], rows)


PARTS: Mapping[str, Callable[[], str]] = {
    "columns-crm": partial(_table, "brevo_", _OF_A_CRM),
    "columns-shared": partial(_table, "", _SHARED),
}
