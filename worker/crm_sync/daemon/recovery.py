"""Recovery of contacts of dead workers and of unknown claims. `full_look` scans the whole table."""

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import structlog

from crm_sync import events
from crm_sync.core.outcome import Finish, Kind
from crm_sync.core.retry import RetryPolicy
from crm_sync.core.tally import Tally
from crm_sync.core.waits import USUAL, Waits
from crm_sync.daemon.full_look import FullLook
from crm_sync.daemon.unseen_flips import UnseenFlips
from crm_sync.errors import ConfigurationError, UnreadableError
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query
from crm_sync.table.contacts import Contacts

WRITE_BATCH = 500

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Charge:
    """One installed CRM, whether it has a lane here or not: its orphans are recovered in either case."""

    contacts: Contacts
    policy: RetryPolicy
    tally: Tally = field(default_factory=Tally)


class Recovery:
    """charges: by CRM; None if its columns are incomplete, so that nothing can be done for now. on_found is called with the name
    of a CRM that has contacts back in line. knows: whether this worker holds a contact with this claim token, or may soon; has:
    whether it holds any contact with this token. worker: the id of this one.
    """

    def __init__(
        self,
        database: Database,
        charges: Mapping[str, Charge | None],
        *,
        on_found: Callable[[str], None],
        knows: Callable[[str, object, int], bool],
        has: Callable[[str, int], bool],
        worker: Callable[[], int],
        waits: Waits = USUAL,
    ) -> None:
        self.refused: dict[str, ConfigurationError] = {}  # CRMs whose contacts could not be recovered, and why
        self._database = database
        self._knows = knows
        self._has = has
        self._worker = worker
        self._asked: dict[str, asyncio.Event] = {}
        self._charges = charges
        self._on_found = on_found
        self._forget_s = waits.forget_worker_s
        self._unseen = UnseenFlips(database)
        self._settled: dict[int, float] = {}  # dead workers: when all contacts found of them were back in line

    async def recover(self, dead: Sequence[int]) -> None:
        """Puts the contacts of dead workers back in line. It can be repeated, and run by several workers at once: finishes are
        fenced.

        Contacts whose row the application has locked wait for the next tick. A dead worker stays in the registry for a while, and
        is checked once more: a claim that was in transit when it died may still be executed.
        """
        now = time.monotonic()
        self._settled = {worker: since for worker, since in self._settled.items() if worker in dead}
        looked_at = [worker for worker in dead if now - self._settled.get(worker, -math.inf) >= self._forget_s]
        left, found = await self._recover(looked_at) if looked_at else (0, 0)
        if left:
            return
        over = [] if found else [worker for worker in looked_at if worker in self._settled]
        if over:
            await self._database.fetch(query("forget_workers"), over)
        self._settled.update(dict.fromkeys(looked_at, now))

    async def _recover(self, dead: Sequence[int]) -> tuple[int, int]:
        """How many of their contacts are still in flight, and how many were. A CRM for which nothing can be done counts as one
        still in flight, so that it is checked again.
        """
        left = found = 0
        self.refused = {}
        for crm, charge in [*self._charges.items()]:
            if charge is None:
                left += 1
                continue
            try:
                orphans = await charge.contacts.orphans(dead)
                found += len(orphans)
                # A worker that had to take a new id still finishes what it claimed with its old one.
                left += sum(self._knows(crm, contact, token) for contact, token, _ in orphans)
                orphans = [orphan for orphan in orphans if not self._knows(crm, *orphan[:2])]
                left += len(orphans) - await self._finish(crm, [charge.policy.orphan(*orphan) for orphan in orphans])
            except ConfigurationError as error:
                left += 1
                self.refused[crm] = error
            except UnreadableError:
                left += 1
                self.asked(crm).set()
        return left, found

    async def recover_unknown(self, worker: int, crm: str) -> bool:
        """Puts contacts back in line that are claimed by this worker but unknown to it. False: the rows of some are locked.

        Either the answer to a claim was lost, the key of a contact was changed in flight, or a crash or failover of the database
        undid a confirmed finish, because finishes do not wait for the disk. A contact finished during the look does no harm,
        because its token is gone.
        """
        orphans = await self._charge(crm).contacts.orphans([worker])
        unknown = [(contact, token) for contact, token, _ in orphans if not self._knows(crm, contact, token)]
        return await self._finish(crm, [Finish(contact, token, Kind.DEFERRED) for contact, token in unknown]) == len(unknown)

    async def _finish(self, crm: str, finishes: Sequence[Finish]) -> int:
        written = 0
        for first in range(0, len(finishes), WRITE_BATCH):
            charge = self._charge(crm)
            finished = await charge.contacts.finish(finishes[first : first + WRITE_BATCH])
            charge.tally.finished(finished.written, unrecorded=finished.unrecorded)
            written += len(finished.written)
        if written:
            log.warning(events.ORPHANS_RECOVERED, crm=crm, contacts=written)
            self._on_found(crm)
        return written

    def _charge(self, crm: str) -> Charge:
        """Raises ConfigurationError if there is none at the moment."""
        charge = self._charges.get(crm)
        if charge is None:
            raise ConfigurationError(f"the columns of {crm} on the contacts table are incomplete: run `crm-sync check`")
        return charge

    def ask(self) -> None:
        """Requests a full look at all contacts, for every lane."""
        for crm in self._charges:
            self.asked(crm).set()

    def asked(self, crm: str) -> asyncio.Event:
        """Set when a full look at the contacts of a CRM is wanted."""
        return self._asked.setdefault(crm, asyncio.Event())

    async def look_over(self, crm: str) -> bool:
        """A full look at the table: see `crm_sync.daemon.full_look`.

        Returns whether anything was found: then another look is worthwhile soon, because locked rows are skipped, and a row that
        moves to a page already scanned is not seen.
        """
        charge = self._charge(crm)
        look = FullLook(self._database, charge.contacts.table, charge.contacts, charge.policy, partial(self._has, crm))
        found = await look.look(self._worker())
        if found.strays:
            charge.tally.strayed(found.strays)
            log.warning(events.STRAYS_LINED_UP, crm=crm, contacts=found.strays)
        if found.claims:
            log.warning(events.ORPHANS_RECOVERED, crm=crm, contacts=found.claims)
        if found.strays or found.claims or found.flips:
            self._on_found(crm)
        if found.strays:
            await self._unseen.look()
        return any(found)
