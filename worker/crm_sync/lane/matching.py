"""Looks up a CRM's records for contacts whose rows have no id yet: read-only, within the account's limits.

It runs next to working lanes, with lower priority: its requests share their limits, and one that finds no room soon is tried
again. Contacts in line are left to their deliveries, which find the ids themselves.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from crm_sync.core.codes import Code
from crm_sync.core.documents import plain_text
from crm_sync.core.identity import fold
from crm_sync.core.outcome import Contact, Outcome
from crm_sync.core.waits import Waits
from crm_sync.crm.client import Client, Found, problem_of
from crm_sync.lane.patience import asked, each_told
from crm_sync.table.matching import MatchCounts, Matching

PAGE = 1000  # contacts read at once
MOST_REQUESTS = 4  # at a time, in addition to those of the lanes

MayAsk = Callable[[], Awaitable[None]]  # raises DeclinedError if the CRM must not be called now
Tell = Callable[[MatchCounts], None]
_Identity = tuple[str, ...]


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
            await self._match(page)
            await self._matching.note(ended=False)
            if time.monotonic() - told_at >= self._waits.report_s:
                told_at = time.monotonic()
                self._tell(self._matching.counts)

    async def _match(self, page: Sequence[Contact]) -> None:
        counts = self._matching.counts
        alike: dict[_Identity, list[Contact]] = {}
        for contact in page:
            if (identity := self._identity(contact)) is not None:
                alike.setdefault(identity, []).append(contact)
            else:
                counts.unaddressed += 1
        # Those with the same identity are looked up once.
        asked, size = [those[0] for those in alike.values()], self._client.delete_limit
        chunks = [asked[start : start + size] for start in range(0, len(asked), size)]
        said = await asyncio.gather(*[self._found(chunk) for chunk in chunks])
        ids: list[Any] = []
        remote_ids: list[str] = []
        for those, found in zip(alike.values(), [one for part in said for one in part], strict=True):
            rows = [contact.id for contact in those]
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

    def _identity(self, contact: Contact) -> _Identity | None:
        """What it is looked up by: its address, and the values of the fields that the client looks up too. None if it has neither
        a valid address nor such a value, so that no delivery finds it either.
        """
        if problem_of(self._client, contact) is not None or not (contact.email or contact.filled):
            return None
        return fold(contact.email or ""), *(plain_text(value).strip() for value in contact.fields.values())

    async def _found(self, contacts: Sequence[Contact]) -> list[str | Outcome | None]:
        """For each contact its id, None if there is no record, or that this is ambiguous."""
        folded = [contact._replace(email=fold(contact.email or "")) for contact in contacts]
        async with self._turns:
            said: Sequence[Found] = await asked(self._client.locate, folded, self._waits)
        return each_told(said, Code.CANNOT_DELETE, f"the client of {self._matching.crm} cannot look contacts up")
