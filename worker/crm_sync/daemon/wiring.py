"""What a worker is made of, and what calls what: the only place where session, recovery and lanes are put together.

    session ──(a bell rang)───────▶ the lane looks for contacts
            ──(news of a breaker)─▶ the lane reads it
            ──(opened, ticked)────▶ recovery: contacts of dead workers go back in line; then every lane looks
            ──(lost)──────────────▶ every lane gives back what waits for its turn
    recovery ─(found contacts)────▶ the lane looks for them

Nothing runs here: the daemon runs all loops, and `crm_sync.daemon.short_worker` those that a single delivery needs.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from crm_sync.core.waits import Waits
from crm_sync.crm.account import Account
from crm_sync.daemon.installation import Installation
from crm_sync.daemon.recovery import Charge, Recovery
from crm_sync.lane.lane import Lane
from crm_sync.lane.watchdog import Progress
from crm_sync.limits.rate_limit import RateLimit
from crm_sync.postgres.pool import Database
from crm_sync.postgres.session import Session
from crm_sync.table.contacts import Contacts


class Wiring:
    """The parts of one worker. in_turn: its lanes claim what is in line; else they deliver only what a person names."""

    def __init__(self, installation: Installation, database: Database, session_url: str, waits: Waits, *, in_turn: bool) -> None:
        self.lanes: dict[str, Lane] = {}
        self.ticking = Progress(waits)
        self._installation = installation
        self._database = database
        self._waits = waits
        self._in_turn = in_turn
        self._charges = {
            crm: Charge(
                Contacts(database, installation.schema.lanes[crm], mapping.email, mapping.fields, waits, writers=mapping.writers),
                installation.lanes[crm].policy,
            )
            for crm, mapping in installation.mappings.items()
        }
        self.recovery = Recovery(database, self._charges, on_found=self._ask, knows=self._knows, waits=waits)
        self.session = Session(
            session_url,
            database,
            on_bell=self._ask,
            on_news=self._hear,
            on_open=self._open,
            on_tick=self._tick,
            on_lost=self._release,
            waits=waits,
        )

    @asynccontextmanager
    async def lane(self, crm: str, account: Account) -> AsyncIterator[Lane]:
        """A lane for as long as its client is open."""
        rate_limit = RateLimit(self._database, crm, account.windows)
        async with account.open(rate_limit) as client:
            lane = self.lanes[crm] = Lane(
                self._installation.schema.lanes[crm],
                database=self._database,
                contacts=self._charges[crm].contacts,
                client=client,
                session=self.session,
                rate_limit=rate_limit,
                policy=self._charges[crm].policy,
                batch_size=self._installation.lanes[crm].sync_scheduler_batch_size,
                waits=self._waits,
            )
            yield lane

    async def _open(self, dead: Sequence[int]) -> None:
        """A new session has heard nothing of what happened before it: every lane looks."""
        await self.recovery.recover(dead)
        for crm, lane in self.lanes.items():
            if self.session.openings:
                await self.recovery.recover_unknown(self.session.known_id, crm)
            lane.ask()
            lane.hear()
        self.ticking.moved()

    async def _tick(self, dead: Sequence[int]) -> None:
        self.ticking.moved()
        await self.recovery.recover(dead)
        for crm, lane in self.lanes.items():
            self.ticking.moved()
            if lane.unsure:
                await self.recovery.recover_unknown(self.session.known_id, crm)
            if self._in_turn:
                await lane.tick()
            else:
                lane.hear()

    def _knows(self, crm: str, contact_id: object, token: int) -> bool:
        lane = self.lanes.get(crm)
        return lane is not None and lane.knows(contact_id, token)

    def _release(self) -> None:
        for lane in self.lanes.values():
            lane.release()

    def _ask(self, crm: str) -> None:
        if lane := self.lanes.get(crm):
            lane.ask()

    def _hear(self, crm: str) -> None:
        if lane := self.lanes.get(crm):
            lane.hear()
