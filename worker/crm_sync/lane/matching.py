"""Looks up a CRM's records for contacts whose rows have no id yet: read-only, within the account's limits.

It runs next to working lanes, with lower priority: its requests share their limits, and one that finds no room soon is tried
again. Contacts in line are left to their deliveries, which find the ids themselves.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from crm_sync.core.codes import Code
from crm_sync.core.identity import check_email, fold
from crm_sync.core.outcome import Outcome
from crm_sync.core.waits import Waits
from crm_sync.crm.client import Client, Found
from crm_sync.lane.patience import asked, each_told
from crm_sync.table.matching import MatchCounts, Matching

PAGE = 1000  # contacts read at once
MOST_REQUESTS = 4  # at a time, in addition to those of the lanes

MayAsk = Callable[[], Awaitable[None]]  # raises DeclinedError if the CRM must not be called now
Tell = Callable[[MatchCounts], None]


class Matcher:
    """may_ask: called before each page. tell: called with the counts now and then."""

    def __init__(self, client: Client, matching: Matching, waits: Waits, *, may_ask: MayAsk, tell: Tell) -> None:
        self._client = client
        self._matching = matching
        self._waits = waits
        self._may_ask = may_ask
        self._tell = tell
        self._turns = asyncio.Semaphore(min(MOST_REQUESTS, client.concurrency))

    async def run(self) -> MatchCounts:
        """Runs to the end. Raises LaneError and DeclinedError, after which it can be run again; else as Database.fetch does."""
        told_at = time.monotonic()
        while True:
            await self._may_ask()
            page = await self._matching.page(PAGE)
            if page is None:
                await self._matching.note(ended=True)
                return self._matching.counts
            by_address: dict[str, list[Any]] = {}
            for contact in page:
                if check_email(contact.email) is None:
                    by_address.setdefault(fold(contact.email or ""), []).append(contact.id)
                else:
                    self._matching.counts.unaddressed += 1
            await self._match(by_address)
            await self._matching.note(ended=False)
            if time.monotonic() - told_at >= self._waits.report_s:
                told_at = time.monotonic()
                self._tell(self._matching.counts)

    async def _match(self, by_address: dict[str, list[Any]]) -> None:
        addresses, size = [*by_address], self._client.delete_limit
        chunks = [addresses[start : start + size] for start in range(0, len(addresses), size)]
        said = await asyncio.gather(*[self._found(chunk) for chunk in chunks])
        ids: list[Any] = []
        remote_ids: list[str] = []
        counts = self._matching.counts
        for address, found in zip(addresses, [one for part in said for one in part], strict=True):
            rows = by_address[address]
            counts.looked_for += len(rows)
            if isinstance(found, str):
                ids += rows
                remote_ids += [found] * len(rows)
            elif found is None:
                counts.unknown += len(rows)
            else:
                counts.ambiguous += len(rows)
        written = await self._matching.write(ids, remote_ids)
        counts.found += written
        counts.left_alone += len(ids) - written

    async def _found(self, addresses: Sequence[str]) -> list[str | Outcome | None]:
        """For each address its id, None if there is no record, or that there are several."""
        async with self._turns:
            said: Sequence[Found] = await asked(self._client.find, addresses, self._waits)
        return each_told(said, Code.CANNOT_DELETE, f"the client of {self._matching.crm} cannot look contacts up")
