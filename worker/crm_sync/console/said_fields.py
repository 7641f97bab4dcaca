"""What a CRM last said of its fields, for a while: a page that is loaded again asks the CRM for nothing."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from crm_sync.api.lane_models import FieldsSaid
from crm_sync.postgres.visiting import role_in_force

LASTS_S = 600.0


@dataclass(frozen=True, slots=True)
class Said:
    """seconds: since it was said."""

    fields: FieldsSaid
    seconds: float


class SaidFields:
    """One answer a CRM, and a role of the database: what an answer says depends on what the role may read."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._of: dict[tuple[str | None, str], tuple[FieldsSaid, float]] = {}

    def keep(self, fields: FieldsSaid) -> None:
        """In place of what it said before."""
        self._of[role_in_force(), fields.crm] = fields, self._clock()

    def last(self, crm: str) -> Said | None:
        """None if it was not asked for a while."""
        fields, at = self._of.get((role_in_force(), crm), (None, 0.0))
        age = self._clock() - at
        return None if fields is None or age > LASTS_S else Said(fields, age)
