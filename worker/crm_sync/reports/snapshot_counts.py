"""How many contacts are in which state, by CRM: as a worker last counted them, or counted now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from crm_sync.errors import StatementRefusedError
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query

SMALL = 8_000_000  # bytes of a table that is counted at every look: some ten thousand contacts, in about 10 ms


@dataclass(frozen=True, slots=True)
class Counted:
    """The snapshot of one CRM, by state."""

    contacts: Mapping[str, int]
    latest: datetime | None
    at: datetime
    age_s: float


async def read_snapshots(database: Database) -> dict[str, Counted]:
    """By CRM. Empty if this role may not read it: live numbers are shown anyway."""
    try:
        return _by_crm([dict(row) for row in await database.fetch(query("read_snapshot"))])
    except StatementRefusedError:
        return {}


async def count_small(database: Database) -> dict[str, Counted]:
    """The same, counted now, so that all numbers are of one moment. Empty if the table is larger than SMALL, or this role may not
    count.
    """
    try:
        size = await database.value(query("measure_contacts"))
        if size is None or size > SMALL:
            return {}
        rows = await database.fetch(query("count_contacts"))
    except StatementRefusedError:
        return {}
    return _by_crm([{**dict(row), "age_s": 0.0} for row in rows])


def _by_crm(rows: Sequence[Mapping[str, Any]]) -> dict[str, Counted]:
    of_crms: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        of_crms.setdefault(row["crm"], []).append(dict(row))
    return {
        crm: Counted(
            {row["state"]: row["contacts"] for row in states},
            max((row["latest"] for row in states if row["latest"] is not None), default=None),
            states[0]["at"],
            states[0]["age_s"],
        )
        for crm, states in of_crms.items()
    }
