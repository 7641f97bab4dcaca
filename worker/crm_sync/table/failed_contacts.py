"""The failed contacts of one CRM: how many there are and why, and flipping them (`crm_sync.table.short_flips`).

Workers deliver meanwhile, and contacts that are refused again at once are failed contacts again. Only contacts not touched since
the count are flipped, and no more than were counted, so this terminates.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from crm_sync.core.codes import NO_CODE, OF_DELIVERED
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import render
from crm_sync.table.short_flips import Bounds, Flipped, ShortFlips


@dataclass(frozen=True, slots=True)
class Failures:
    """The failed contacts with one code, or those without a reason: they have no prefixes.

    uncertain: those that may have failed before the requested time. undated: in addition, those whose time is unknown. prefixes:
    how the reasons begin. sample: one of them.
    """

    code: str
    in_error: int
    waiting: int
    complete: int
    uncertain: int
    undated: int
    prefixes: Sequence[str]
    sample: str | None

    @property
    def contacts(self) -> int:
        return self.in_error + self.waiting + self.complete


class FailedContacts:
    """Every method raises as Database.fetch does, but never RowRefusedError."""

    def __init__(
        self,
        database: Database,
        variables: Mapping[str, str],
        counted_at: datetime,
        since: datetime | None = None,
        bounds: Bounds | None = None,
        *,
        keys: Sequence[Any] | None = None,
    ) -> None:
        """counted_at, since: by the database's clock. since: only those that failed since then; None: all. keys: only these
        contacts.
        """
        self._database = database
        self._counted_at = counted_at
        self._since = since
        self._keys = keys
        self._may_go_on: Callable[[], bool] = lambda: True
        self._count = render("count_failed_contacts", variables)
        self._find = render("find_failed_contacts", variables)
        self._count_silent = render("count_silent_contacts", variables)
        self._find_silent = render("find_silent_contacts", variables)
        self._flips = ShortFlips(database, render("flip_failed_contacts", variables), counted_at, bounds=bounds)

    async def count(self) -> list[Failures]:
        """Those with a reason, by code."""
        rows = await self._database.fetch(self._count, self._since, self._keys)
        return [Failures(**{**dict(row), "code": row["code"] or NO_CODE}) for row in rows]

    async def count_silent(self) -> list[Failures]:
        """The failure without a code, if any. This reads the whole table, and does not know when the contacts failed."""
        count = int(await self._database.value(self._count_silent, self._keys))
        in_error, undated = (count, 0) if self._since is None else (0, count)
        return [Failures(NO_CODE, in_error, 0, 0, 0, undated, (), None)] if count else []

    async def may_flip(self) -> None:
        """Raises ConfigurationError if the role has no right to."""
        await self._flips.may()

    async def flip(self, chosen: Sequence[Failures], progress: Flipped, may_go_on: Callable[[], bool] = lambda: True) -> None:
        """Flips what was counted, as long as may_go_on allows it: it is called after every bounds.keys contacts.

        progress is up to date at any moment, also when this raises.
        """
        self._may_go_on = may_go_on
        with_reason = sum(entry.contacts for entry in chosen if entry.prefixes)
        silent = sum(entry.contacts for entry in chosen if not entry.prefixes)
        prefixes = [prefix for entry in chosen for prefix in entry.prefixes]
        complete = any(entry.code in OF_DELIVERED and entry.complete for entry in chosen)
        await self._flip_found(with_reason, progress, self._find, prefixes, self._since, self._counted_at, complete, self._keys)
        await self._flip_found(silent, progress, self._find_silent, self._counted_at, self._keys)
        await self._flips.flip_locked(progress)

    async def _flip_found(self, counted: int, progress: Flipped, statement: str, *arguments: object) -> None:
        left = counted
        while left > 0 and self._may_go_on():
            tried = [*progress.locked, *progress.refused]
            rows = await self._database.fetch(statement, *arguments, tried, min(left, self._flips.bounds.keys))
            if not rows:
                return
            left -= len(rows)
            await self._flips.flip([row[0] for row in rows], progress)
