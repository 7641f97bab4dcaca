"""What the user should know about a worker's sessions: what the URL asks for, who may run SQL as the worker, and which settings
do not get through a pooler.
"""

from typing import Any

from crm_sync.core.connection_string import ConnectionString
from crm_sync.postgres.pool import Database
from crm_sync.postgres.session_settings import RESTED_ON, STYLES, search_path
from crm_sync.postgres.statements import query, quote
from crm_sync.settings import Settings

_FEW = 3  # roles that are listed
_OF_KEY = "; the keys of contacts are written by it, and may not be found again, or differ between commands"


def connection_notes(settings: Settings) -> list[tuple[str, str]]:
    """(setting, a sentence), for each parameter of a URL that does not work as one may think."""
    urls = {"DATABASE_URL": settings.database_url, "LISTEN_DATABASE_URL": settings.listen_database_url}
    return [(name, note) for name, url in urls.items() if url is not None for note in ConnectionString.parse(url).notes]


async def path_notes(database: Database, settings: Settings) -> list[str]:
    """About the search_path of a worker's statements: what is missing from it, and who may create objects in its schemas.

    Raises as Database.fetch does.
    """
    schemas = None if settings.behind_pooler else list(settings.mapping_path)
    rows = [dict(row) for row in await database.fetch(query("list_path_creators"), schemas)]
    notes = []
    for row in rows:
        if not row["is_there"]:
            notes.append(f"MAPPING_SEARCH_PATH: there is no schema {row['name']}")
        elif not row["may_use"]:
            notes.append(
                f"{row['role']} may not use the schema {row['name']}: GRANT USAGE ON SCHEMA {quote(row['name'])} TO {row['role']}"
            )
        elif (who := _creators(row)) and settings.behind_pooler:
            path = search_path(settings.mapping_path)["search_path"]
            notes.append(
                f"{who} may create in {row['name']}, and so run SQL as {row['role']}, because a worker cannot set its "
                f"search_path through a pooler: ALTER ROLE {row['role']} SET search_path = {path}"
            )
        elif who:
            notes.append(
                f"{who} may create in {row['name']}, which is on MAPPING_SEARCH_PATH, and so have SQL run as {row['role']}: "
                f"REVOKE CREATE ON SCHEMA {quote(row['name'])}, or write what the mapping needs with its schema"
            )
    return notes


async def pooler_notes(database: Database) -> list[str]:
    """The settings of a worker's session that do not get through a pooler, and those that keys depend on. Raises as
    Database.fetch does.
    """
    of_key = {row["name"]: STYLES[row["name"]] for row in await database.fetch(query("list_key_settings"))}
    wanted = {**RESTED_ON, **of_key}
    rows = await database.fetch(query("list_settings"), list(wanted))
    role = await database.value(query("name_role"))
    return [
        f"{row['name']} is {row['setting']}, and through a pooler a worker cannot set it"
        f"{_OF_KEY if row['name'] in of_key else ''}: ALTER ROLE {role} SET {row['name']} = '{wanted[row['name']]}'"
        for row in rows
        if not _is_set(wanted[row["name"]], row["setting"])
    ]


def _is_set(wanted: str, setting: str) -> bool:
    """A DateStyle also has the order of day and month, which ISO ignores."""
    return setting.split(",", maxsplit=1)[0] == wanted


def _creators(row: dict[str, Any]) -> str:
    if row["everybody"]:
        return "everybody"
    names = row["creators"]
    more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
    return ", ".join(names[:_FEW]) + more
