"""What people do with commands, the console or the API, as recorded in `crm_sync.events`.

The names are a public interface, like those of log events.
"""

import getpass
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click

from crm_sync.core.text import printable
from crm_sync.errors import CrmSyncError
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query

LANE_HELD = "lane_held"
LANE_RESUMED = "lane_resumed"
CONTACTS_RETRIED = "contacts_retried"
DRIFT_QUEUED = "drift_queued"
CONTACT_SENT = "contact_sent"
CONTACT_FORGOTTEN = "contact_forgotten"
TABLE_ADOPTED = "table_adopted"
COLUMNS_WATCHED = "columns_watched"
COLUMNS_UNWATCHED = "columns_unwatched"
ON_DELETE_SET = "on_delete_set"
CONTACTS_CHANGED = "contacts_changed"
CONTACT_REVEALED = "contact_revealed"
FIELDS_ASKED = "fields_asked"
TOKEN_USED = "token_used"  # noqa: S105 (a name)

COMMAND, WORKER, CONSOLE, API = "command", "worker", "console", "api"
LONGEST_ACTOR = 100


@dataclass(frozen=True, slots=True)
class Doer:
    """Who does something, and through what. actor: a login on the machine of a command, or the user of a console or an API."""

    actor: str
    via: str


async def note(database: Database, event: str, crm: str | None = None, *, by: Doer | None = None, **details: Any) -> str | None:
    """Records what was done. by: None for a command. Returns a sentence if it could not be recorded; the deed is done anyway."""
    try:
        await database.fetch(query("write_events"), *arguments(event, crm, by=by, **details))
    except CrmSyncError as error:
        return problem(error)
    return None


def arguments(event: str, crm: str | None = None, *, by: Doer | None = None, **details: Any) -> Sequence[Any]:
    """Arguments of write_events.sql. Empty details are left out."""
    doer = by or Doer(login(), COMMAND)
    written = json.dumps({name: value for name, value in details.items() if value not in (None, [], ())}, ensure_ascii=False)
    return [0.0], [event], [crm], printable(doer.actor, LONGEST_ACTOR) or "unknown", doer.via, None, [written]


def problem(error: CrmSyncError) -> str:
    return f"Note: crm_sync.events does not record who did this ({error})."


def tell(problem: str | None) -> None:
    """Prints the sentence returned by `note` to standard error."""
    if problem is not None:
        click.echo(problem, err=True)


def login() -> str:
    """The login of the person on the machine where the command runs."""
    try:
        return printable(getpass.getuser(), LONGEST_ACTOR) or "unknown"
    except (KeyError, OSError, ImportError):  # no such user, as in a container that only sets a number
        return "unknown"
