"""The rights that the database role lacks for people's actions: reported before they try, and when a statement was refused."""

from collections.abc import Iterable, Mapping
from enum import StrEnum

from crm_sync.api.reader import SharedReading
from crm_sync.api.tables import Tables
from crm_sync.errors import CrmSyncError, ForbiddenError, StatementRefusedError
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query

Right = tuple[str, str, str]  # a relation, one of its columns or "" for all, and the privilege

MOST_NAMED = 3


class Action(StrEnum):
    """What the console's buttons do."""

    CHANGE = "change"
    RETRY = "retry"
    REVEAL = "reveal"
    PAUSE = "pause"
    ASK = "ask"


_OF_LANES = [("crm_sync.lanes", column, "UPDATE") for column in ("held_since", "held_reason", "revision")]


class Rights:
    """For the role in force."""

    def __init__(self, database: Database, tables: Tables) -> None:
        self._database = database
        self._tables = tables
        self._lacking = SharedReading(self._read)

    async def lacking(self) -> Mapping[Action, str]:
        """For each action that is not possible: why, and what to do. Raises as Database.fetch does."""
        return await self._lacking.value()

    async def explained(self, error: ForbiddenError, *, writes: bool) -> str:
        """The explanation of a refused statement. writes: whether something was to be changed."""
        try:
            role = str(await self._database.value(query("name_role")))
        except CrmSyncError:  # the original error is what matters
            return str(error)
        return f"the database role {role} lacks a right ({error.__cause__}). {_remedy(role, writes=writes)}"

    async def _read(self) -> Mapping[Action, str]:
        lanes = await self._tables.whole()
        flips = [(lane.variables["contacts_name"], f"{crm}_sync_status", "UPDATE") for crm, lane in lanes.items()]
        needed: dict[Action, list[Right]] = {
            Action.CHANGE: flips,
            Action.RETRY: flips,
            Action.REVEAL: [("crm_sync.events", "", "INSERT")],
            Action.PAUSE: _OF_LANES,
            Action.ASK: [("crm_sync.budgets", "", privilege) for privilege in ("INSERT", "UPDATE")],
        }
        every = [*dict.fromkeys(right for rights in needed.values() for right in rights)]
        try:
            rows = await self._database.fetch(query("list_missing_rights"), *map(list, zip(*every, strict=True)))
        except StatementRefusedError:  # an older schema, or one that this role cannot see: then the statement itself will say so
            return {}
        missing = {(row["relation"], row["column_name"], row["privilege"]) for row in rows}
        found = {action: [right for right in rights if right in missing] for action, rights in needed.items()}
        return {action: _said(rows[0]["role"], rights) for action, rights in found.items() if rights}


def _said(role: str, missing: Iterable[Right]) -> str:
    names = [" ".join(filter(None, (privilege, "on", relation, column))) for relation, column, privilege in missing]
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"The database role {role} lacks {', '.join(names[:MOST_NAMED])}{more}. {_remedy(role, writes=True)}"


def _remedy(role: str, *, writes: bool) -> str:
    """The command prints what only the owner may run."""
    if writes:
        return f"`crm-sync grants {role} --console` prints it for the owner of the table"
    return f"`crm-sync grants {role} --console-readonly`, or --console for one that changes contacts, prints it for the owner"
