"""The parts of a worker, and what calls what: the only place where session, recovery and lanes are put together.

    session ──(a bell rang)───────▶ the lane looks for contacts
            ──(hears no bell)─────▶ every lane looks, and stays awake
            ──(news of a breaker)─▶ the lane reads it
            ──(opened, ticked)────▶ recovery: contacts of dead workers go back in line; then every lane looks
            ──(another joined)────▶ every lane locks the addresses of its requests
            ──(lost)──────────────▶ every lane gives back contacts waiting for their turn
            ──(the table changed)─▶ it is read again; lanes that are affected are reopened
    recovery ─(found contacts)────▶ the lane looks for them

Nothing runs here: the daemon runs all loops, and `crm_sync.daemon.short_worker` those that a single delivery needs. Lanes come
and go while the session stays open. If the database refuses a statement of one (`on_refused`), the others are not affected.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import structlog

from crm_sync import events
from crm_sync.core.history import History
from crm_sync.core.tally import Tally
from crm_sync.core.waits import Waits
from crm_sync.daemon.installation import NOTHING, LanePlan
from crm_sync.daemon.obstacles import Obstacles
from crm_sync.daemon.recovery import Charge, Recovery
from crm_sync.errors import ConfigurationError, UnreadableError
from crm_sync.lane.lane import Lane
from crm_sync.lane.watchdog import Progress
from crm_sync.limits.rate_limit import RateLimit
from crm_sync.measurements import Cause
from crm_sync.postgres.pool import Database
from crm_sync.postgres.session import Session
from crm_sync.settings import LaneSettings
from crm_sync.table.adopted_table import LaneTable
from crm_sync.table.clearing import read_clearing
from crm_sync.table.contacts import Contacts
from crm_sync.table.schema import Schema, inspect_schema

Refused = Callable[[str, ConfigurationError], None]
Outdated = Callable[[str], None]

log = structlog.get_logger()


def _raise(_crm: str, error: ConfigurationError) -> None:
    raise error


def _keep(_crm: str) -> None:
    """A short worker is done before a change of the table matters."""


class Wiring:
    """The parts of one worker. in_turn: its lanes claim contacts in line; otherwise they deliver only contacts that a person
    names.

    contacts_table: the configured one. history: which outcomes are recorded there. on_refused: called with a CRM and why its lane
    cannot go on. on_outdated: called with a CRM whose lane must or can be reopened.
    """

    def __init__(
        self,
        database: Database,
        session_url: str,
        waits: Waits,
        *,
        in_turn: bool,
        contacts_table: str | None = None,
        history: History = History.ALL,
        on_refused: Refused = _raise,
        on_outdated: Outdated = _keep,
    ) -> None:
        self.tallies: dict[str, Tally] = {}  # by CRM
        self._history = history
        self.lanes: dict[str, Lane] = {}
        self.ticking = Progress(waits)
        self.database = database
        self._waits = waits
        self._in_turn = in_turn
        self._contacts_table = contacts_table
        self._on_refused = on_refused
        self._on_outdated = on_outdated
        self._opened_with: dict[str, Schema] = {}  # by CRM, for each lane
        self._table_then: str | None = None  # a fingerprint of the contacts table when it was last read again
        self._obstacles = Obstacles()
        self._charges: dict[str, Charge | None] = {}
        self.recovery = Recovery(
            database, self._charges, on_found=self._ask, knows=self._knows, has=self._has, worker=self._worker, waits=waits
        )
        self.session = Session(
            session_url,
            database,
            on_bell=self._ring,
            on_news=self._hear,
            on_open=self._open,
            on_tick=self._tick,
            on_company=self._make_company,
            on_lost=self._release,
            on_deaf=self._wake,
            on_clock_back=self.recovery.ask,
            waits=waits,
        )

    async def look(self) -> Schema:
        """What the database contains now. A lane that cannot go on with it is reported. Raises as inspect_schema does."""
        schema = await inspect_schema(self.database, self._contacts_table)
        self._obstacles.add(frozenset(schema.faults))
        self.learn(schema)
        for crm in schema.faults.keys() & self.lanes.keys():
            self._on_refused(crm, ConfigurationError(schema.faults[crm]))
        return schema

    def learn(self, schema: Schema) -> None:
        """Contacts of dead workers are recovered for every installed CRM, whether it has a lane here or not."""
        installed: dict[str, Charge | None] = dict.fromkeys(schema.faults)
        for crm, table in schema.lanes.items():
            contacts = Contacts(self.database, table, NOTHING.email, NOTHING.fields, self._waits, history=self._history)
            installed[crm] = Charge(contacts, LaneSettings().policy, self._tally(crm))
        ours = {crm: self._charges[crm] for crm in self.lanes}
        self._charges.clear()
        self._charges.update(installed | ours)

    def tables(self) -> dict[str, LaneTable]:
        """For the CRMs that are installed and complete, whether they have a lane here or not."""
        return {crm: charge.contacts.table for crm, charge in self._charges.items() if charge is not None}

    @asynccontextmanager
    async def lane(self, plan: LanePlan) -> AsyncIterator[Lane]:
        """A lane, for as long as its client is open."""
        crm, settings = plan.table.crm, plan.settings
        rate_limit = RateLimit(self.database, crm, plan.account.windows)
        mapping = plan.mapping
        async with plan.account.open(rate_limit) as client:
            client.if_empty = mapping.if_empty
            contacts = Contacts(
                self.database,
                plan.table,
                mapping.email,
                mapping.fields,
                self._waits,
                writers=mapping.writers,
                longest=mapping.longest,
                apart=mapping.apart,
                history=self._history,
                clearing=await read_clearing(
                    self.database, crm, mapping.emptied, numbering=True, keeps_records=client.keeps_records
                ),
            )
            lane = Lane(
                plan.table,
                database=self.database,
                contacts=contacts,
                client=client,
                session=self.session,
                rate_limit=rate_limit,
                policy=settings.policy,
                batch_size=settings.sync_scheduler_batch_size,
                tally=self._tally(crm),
                mapping=mapping,
                waits=self._waits,
            )
            self._charges[crm] = Charge(contacts, settings.policy, self._tally(crm))
            self.lanes[crm] = lane
            self._opened_with[crm] = plan.schema
            try:
                yield lane
            finally:
                del self.lanes[crm], self._opened_with[crm]

    def _tally(self, crm: str) -> Tally:
        """It outlives the lane, which may be reopened."""
        return self.tallies.setdefault(crm, Tally())

    async def greet(self, crm: str) -> None:
        """For a lane that is added while the session is open: it has received no news, and a previous lane may have left claims
        behind.

        Raises as Database.fetch does.
        """
        if self.session.opened.is_set():
            await self.recovery.recover_unknown(self.session.known_id, crm)
        self._ask(crm)
        self._hear(crm)

    async def _follow_table(self) -> None:
        """Reads the contacts table again if it has changed. Raises DatabaseTroubleError."""
        table_now, barred = self.session.table_now, self._obstacles.crms
        if not self._in_turn or not self._obstacles.is_to_look(changed=table_now != self._table_then):
            return
        try:
            schema = await self.look()
        except ConfigurationError as error:  # the table is gone
            for crm in [*self.lanes]:
                self._on_refused(crm, error)
        else:
            outdated = [crm for crm, former in self._opened_with.items() if former.is_outdated(crm, schema)]
            if outdated:
                log.warning(events.TABLE_CHANGED, table=schema.table.name, lanes=sorted(outdated), note="they start again")
            # At the first look, lanes that are not open are just being opened, with this very table.
            changed = table_now != self._table_then and self._table_then is not None
            standing = (schema.lanes.keys() if changed else barred & schema.lanes.keys()) - self.lanes.keys()
            self._obstacles.found(frozenset(schema.faults))
            for crm in [*outdated, *standing]:
                self._on_outdated(crm)
            if changed:
                # Rows of a partition that was attached, or flips made while a trigger was missing.
                self.recovery.ask()
        self._table_then = table_now

    async def _open(self, dead: Sequence[int]) -> None:
        """A new session has received no news of what happened before it: every lane looks."""
        await self._follow_table()
        await self._recover(dead)
        # Claims of no living worker, wherever they come from.
        self.recovery.ask()
        for crm, lane in [*self.lanes.items()]:
            try:
                if self.session.openings:
                    await self.recovery.recover_unknown(self.session.known_id, crm)
            except ConfigurationError as error:
                self._on_refused(crm, error)
            except UnreadableError:
                pass  # the full look, which was requested, needs no keys
            lane.ask()
            lane.hear()
        self.ticking.moved()

    async def _tick(self, dead: Sequence[int]) -> None:
        self.ticking.moved()
        await self._follow_table()
        await self._recover(dead)
        for crm, lane in [*self.lanes.items()]:
            self.ticking.moved()
            try:
                if lane.take_unread():
                    self.recovery.asked(crm).set()
                elif lane.unsure and not await self.recovery.recover_unknown(self.session.known_id, crm):
                    lane.doubt()
                if self._in_turn:
                    await lane.tick()
                else:
                    lane.hear()
            except ConfigurationError as error:
                self._on_refused(crm, error)
            except UnreadableError:  # the key of the first contact in line is unreadable: a claim deals with it
                lane.ask()

    async def _make_company(self) -> None:
        for lane in [*self.lanes.values()]:
            await lane.make_company()

    async def _recover(self, dead: Sequence[int]) -> None:
        await self.recovery.recover(dead)
        if refused := self.recovery.refused:
            for crm in refused.keys() & self.lanes.keys():
                self._on_refused(crm, refused[crm])
            # The columns of the others may have new names by now.
            await self.look()

    def _knows(self, crm: str, contact_id: object, token: int) -> bool:
        lane = self.lanes.get(crm)
        return lane is not None and lane.knows(contact_id, token)

    def _worker(self) -> int:
        return self.session.known_id

    def _has(self, crm: str, token: int) -> bool:
        lane = self.lanes.get(crm)
        return lane is not None and lane.has(token)

    def _release(self) -> None:
        for lane in self.lanes.values():
            lane.release()

    def _wake(self) -> None:
        """No bell is heard: a lane must not rely on it to wake."""
        for lane in self.lanes.values():
            lane.ask()

    def _ring(self, crm: str) -> None:
        if lane := self.lanes.get(crm):
            lane.ask(Cause.BELL)

    def _ask(self, crm: str) -> None:
        if lane := self.lanes.get(crm):
            lane.ask()

    def _hear(self, crm: str) -> None:
        if lane := self.lanes.get(crm):
            lane.hear()
