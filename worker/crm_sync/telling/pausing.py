"""A manual pause, and the previous one: pausing a paused lane returns and records the earlier pause.

The new reason is shown from then on, because the last person knows most; the start of the pause stays. The event of the new pause
contains the previous reason and who gave it.
"""

from dataclasses import dataclass
from datetime import datetime

from crm_sync.core.text import clean
from crm_sync.errors import ConfigurationError
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query
from crm_sync.telling import deeds
from crm_sync.telling.deeds import Doer


@dataclass(frozen=True, slots=True)
class Pause:
    """actor: who gave the reason; None if that was not recorded, or this role may not read it."""

    since: datetime
    reason: str
    actor: str | None

    @property
    def words(self) -> str:
        """Who, and why."""
        return f"by {self.actor}: {self.reason}" if self.actor else self.reason


async def hold(database: Database, crm: str, reason: str, by: Doer | None = None) -> tuple[Pause | None, str | None]:
    """Pauses the CRM. Returns the previous pause, and a sentence if this could not be recorded. by: None for a command.

    Raises as Database.fetch does.
    """
    rows = await database.fetch(query("hold_lane"), crm, reason)
    before = None
    if rows and rows[0]["was_since"] is not None:
        since = rows[0]["was_since"]
        before = Pause(since, clean(rows[0]["was_reason"] or "") or "no reason given", await _actor(database, crm, since))
    was = {} if before is None else {"was": before.reason, "was_by": before.actor}
    return before, await deeds.note(database, deeds.LANE_HELD, crm, by=by, reason=reason, **was)


async def _actor(database: Database, crm: str, since: datetime) -> str | None:
    try:
        rows = await database.fetch(query("find_pauser"), crm, since)
    except ConfigurationError:  # a right that is not needed to pause
        return None
    return clean(rows[0]["actor"]) if rows else None
