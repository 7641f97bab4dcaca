"""What others left behind: contacts of dead workers, and flips that no trigger saw."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from worker import events
from worker.contacts import Contacts
from worker.core.retry import RetryPolicy
from worker.database import Database
from worker.sql import query

STRETCH_PAGES = 4096  # 32 MiB of table in one short statement
WRITE_BATCH = 500

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Charge:
    """One installed CRM, whether it has a lane here or not: its orphans are looked after all the same."""

    contacts: Contacts
    policy: RetryPolicy


class Recovery:
    """on_found is called with the name of a CRM that has contacts back in line."""

    def __init__(self, database: Database, charges: Mapping[str, Charge], on_found: Callable[[str], None]) -> None:
        self._database = database
        self._charges = charges
        self._on_found = on_found

    async def recover(self, dead: Sequence[int]) -> None:
        """Puts the contacts of dead workers back in line. Repeatable, and safe in several workers at once: finishes are fenced.

        Contacts whose row the application has locked stay for the next tick, and so does their worker in the registry.
        """
        if not dead:
            return
        left = 0
        for crm, charge in self._charges.items():
            orphans = await charge.contacts.orphans(dead)
            written = 0
            for first in range(0, len(orphans), WRITE_BATCH):
                finishes = [charge.policy.orphan(*orphan) for orphan in orphans[first : first + WRITE_BATCH]]
                written += len(await charge.contacts.finish(finishes))
            left += len(orphans) - written
            if written:
                log.warning(events.ORPHANS_RECOVERED, crm=crm, contacts=written, workers=list(dead))
                self._on_found(crm)
        if not left:
            await self._database.fetch(query("forget_workers"), list(dead))

    async def line_up_strays(self, crm: str) -> int:
        """A full look at the table, in stretches, for contacts whose place in line does not match what is wanted."""
        contacts = self._charges[crm].contacts
        pages = await contacts.pages()
        repaired = 0
        for first in range(0, pages, STRETCH_PAGES):
            repaired += await contacts.line_up_strays(first, min(first + STRETCH_PAGES, pages))
            await asyncio.sleep(0)
        if repaired:
            log.warning(events.STRAYS_LINED_UP, crm=crm, contacts=repaired)
            self._on_found(crm)
        return repaired
