"""Compares delivered contacts with their records in a CRM: read-only, within the account's limits.

A contact is read, its record is read, and if they differ the contact is read once more: a delivery or an edit in between is not
drift. Values are compared as the client would send them, according to the types of the CRM's fields (`Client.same`).

A delivery sends a whole row. So a contact is not queued, whatever differs, if its row opts in and the CRM shows that the person
has opted out, or does not show it: nobody asked for that opt-in now. The same goes for a list that it would join, and that the
person is not on: people leave lists too.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crm_sync.core.codes import Code
from crm_sync.core.consent import opting_in
from crm_sync.core.drift import Drift, Example
from crm_sync.core.identity import check_email
from crm_sync.core.left_fields import left_out
from crm_sync.core.likeness import same_address
from crm_sync.core.moments import BEGINNING
from crm_sync.core.outcome import Contact, Outcome, is_empty
from crm_sync.core.remote_schema import RemoteField, RemoteSchema, told
from crm_sync.core.waits import Waits
from crm_sync.crm.client import Client, Held, Record
from crm_sync.errors import DeclinedError
from crm_sync.lane.patience import asked, each_told
from crm_sync.table.comparing import DELIVERED, IN_LINE, SHARED, Comparing, Row, chunks
from crm_sync.table.mapping import FieldMapping

EMAIL = "email"
SMALLEST_PAGE = 100  # contacts read at once,
REQUESTS_A_PAGE = 5  # or as many as fit into this many requests
NOBODY = Contact("", 0, 0, None, None, BEGINNING, {})
MOST_REQUESTS = 2  # at a time, in addition to those of the lanes

MayAsk = Callable[[], Awaitable[None]]  # raises DeclinedError if the CRM must not be called now
Tell = Callable[[Drift], None]
Queued = Callable[[int], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is compared. fields: only these; empty means all. after: start after this key. most: contacts, at most.

    sample: this many random contacts instead of all. flips: contacts that differ are queued. values: include them in examples.
    """

    fields: Collection[str] = ()
    after: str | None = None
    most: int | None = None
    sample: int | None = None
    flips: bool = False
    values: bool = False


@dataclass(frozen=True, slots=True)
class _Difference:
    """A contact that differs from its record. record: None if there is none. fields: those that differ, with the CRM's values.
    opted_out: whether a delivery would opt in somebody who has opted out; None if the record does not show that. off_list: the
    same of a list that the person is not on.
    """

    row: Row
    contact: Contact
    record: Record | None
    fields: Mapping[str, Any]
    opted_out: bool | None = False
    off_list: bool | None = False


class Comparer:
    """may_ask: called before each page. tell: called with the counts now and then. queued: called with the number flipped after
    each batch. drift: collects the results.
    """

    def __init__(
        self,
        client: Client,
        comparing: Comparing,
        mapping: FieldMapping,
        waits: Waits,
        *,
        drift: Drift,
        wanted: Wanted,
        may_ask: MayAsk,
        tell: Tell,
        queued: Queued,
    ) -> None:
        self.drift = drift
        self._client = client
        self._comparing = comparing
        self._mapping = mapping
        self._waits = waits
        self._wanted = wanted
        self._may_ask = may_ask
        self._tell = tell
        self._queued = queued
        self._names: Sequence[str] = ()
        self._asked: Sequence[str] = ()  # these, and the consent that decides whether a contact may be queued
        self._schema: RemoteSchema | None = None
        self._turns = asyncio.Semaphore(min(MOST_REQUESTS, client.concurrency))

    async def run(self) -> None:
        """Runs to the end. Raises LaneError and DeclinedError, after which it can continue from drift.last_key; else as
        Database.fetch.
        """
        await self._may_ask()
        await self._look_at_fields()
        if self._wanted.flips:
            await self._comparing.may_flip()
        told_at = time.monotonic()
        self.drift.last_key = self._wanted.after
        sampled = None if self._wanted.sample is None else await self._comparing.sample(self._wanted.sample)
        while rows := await self._page(sampled):
            await self._may_ask()
            await self._compare(rows)
            if sampled is None:
                self.drift.last_key = rows[-1].key
            if time.monotonic() - told_at >= self._waits.report_s:
                told_at = time.monotonic()
                self._tell(self.drift)

    async def _look_at_fields(self) -> None:
        """Raises DeclinedError if what is sent could not be stored there anyway."""
        self._schema = await self._client.schema()
        if self._schema is not None and (misfits := self._schema.misfits(self._mapping.shapes)):
            raise DeclinedError(f"the mapping does not fit the fields of {self._comparing.crm}: {told(misfits)}")
        names = [EMAIL, *(name for name in self._mapping.fields if name != EMAIL)]
        names = [name for name in names if not self._wanted.fields or name in self._wanted.fields]
        self.drift.moving = [name for name in names if name in self._client.moving]
        self.drift.unread = [name for name in names if name not in self.drift.moving and not self._is_read(name)]
        self._names = [name for name in names if name not in self.drift.unread and name not in self.drift.moving]
        if not self._names:
            raise DeclinedError(f"{self._comparing.crm} has nothing to compare {' and '.join(names)} with")
        consent = filter(self._is_read, [*self._mapping.opt_outs, *self._mapping.joins])
        self._asked = [*dict.fromkeys([*self._names, *consent, *self._client.joined(NOBODY)])]

    def _is_read(self, name: str) -> bool:
        if name == EMAIL or any(shape.name == name for shape in self._mapping.shapes):
            return name not in self._client.unread or self._field(name) is not None
        # Consent, lists and tags, whose case does not matter.
        return name.lower() in {known.lower() for known in self._client.read_members}

    def _field(self, name: str) -> RemoteField | None:
        return None if self._schema is None else self._schema.fields.get(self._schema.spelled(name))

    async def _page(self, sampled: list[Any] | None) -> list[Row]:
        size = max(SMALLEST_PAGE, REQUESTS_A_PAGE * self._client.read_limit)
        if self._wanted.most is not None:
            size = min(size, self._wanted.most - self.drift.looked_up)
        if size <= 0:
            self.drift.limited = bool(await self._comparing.page(self.drift.last_key, 1))
            return []
        if sampled is None:
            return await self._comparing.page(self.drift.last_key, size)
        ids, sampled[:size] = sampled[:size], []
        return await self._comparing.named(ids) if ids else []

    async def _compare(self, rows: Sequence[Row]) -> None:
        open_ = [row for row in rows if self._is_compared(row)]
        contacts = await self._comparing.contacts(open_)
        self.drift.unreadable += sum(row.id not in contacts for row in open_)
        read = [row for row in open_ if row.id in contacts]
        said = await asyncio.gather(
            *[self._held([contacts[row.id] for row in chunk]) for chunk in chunks(read, self._client.read_limit)]
        )
        found = []
        for row, held in zip(read, [one for part in said for one in part], strict=True):
            if isinstance(held, Outcome):
                self.drift.ambiguous += 1
            elif difference := self._difference(row, contacts[row.id], held):
                found.append(difference)
            else:
                self.drift.compared += 1
        await self._settle(found)

    def _is_compared(self, row: Row) -> bool:
        match row.state:
            case state if state == DELIVERED and row.code != Code.ALREADY_THERE:
                return True
            case state if state == DELIVERED:
                self.drift.left += 1
            case state if state == IN_LINE:
                self.drift.in_line += 1
            case state if state == SHARED:
                self.drift.shared += 1
            case _:
                self.drift.undelivered += 1
        return False

    async def _held(self, contacts: Sequence[Contact]) -> list[Record | Outcome | None]:
        """The record of each contact: None if there is none, or a marker if there are several."""
        async with self._turns:
            said: Sequence[Held] = await asked(lambda some: self._client.read(some, self._asked), contacts, self._waits)
        return each_told(said, Code.CLIENT_FAILED, f"the client of {self._comparing.crm} does not know how to read contacts")

    def _difference(self, row: Row, contact: Contact, record: Record | None) -> _Difference | None:
        if record is None:
            return _Difference(row, contact, None, {})
        filled = contact.filled
        fields: dict[str, Any] = {}
        for name in self._names:
            if name == EMAIL:
                address = contact.email or ""
                if check_email(address) is None and not same_address(address, record.addresses):
                    fields[EMAIL] = ", ".join(sorted(record.addresses))
            elif name in contact.emptied:
                if not is_empty(held := record.values.get(name)):
                    fields[name] = held
            elif name in filled and name in record.values:
                held = record.values[name]
                if name in self._mapping.if_empty and not is_empty(held):
                    continue  # whatever it is, no delivery changes it
                same = self._client.same(self._field(name), name, filled[name], held)
                if same is None:
                    self._not_stored(name)
                elif not same:
                    fields[name] = held
        if not fields:
            return None
        filled = contact.filled
        opted_in = {
            name: wanted
            for name, opt_outs in self._mapping.opt_outs.items()
            if name in filled and (wanted := opting_in(filled[name], opt_outs)) is not None
        }
        joined = {name: filled[name] for name in self._mapping.joins if name in filled}
        opted_out = self._is_undone(opted_in, record)
        lists = [self._is_undone(one, record) for one in (joined, self._client.joined(contact))]
        off_list = True if True in lists else None if None in lists else False
        return _Difference(row, contact, record, fields, opted_out, off_list)

    def _is_undone(self, wanted: Mapping[str, Any], record: Record) -> bool | None:
        """Whether the record has other values, which a delivery would undo; None if it does not show that."""
        found: bool | None = False
        for name, value in wanted.items():
            if name not in record.values:
                found = None
            elif not self._client.same(None, name, value, record.values[name]):
                return True
        return found

    async def _settle(self, found: Sequence[_Difference]) -> None:
        """Counts and queues the contacts that have not changed since they were read."""
        if not found:
            return
        rows = {row.id: row for row in await self._comparing.named([one.row.id for one in found])}
        contacts = await self._comparing.contacts(rows.values())
        queued: list[Row] = []
        for one in found:
            now = rows.get(one.row.id)
            if now is None or now._replace(read_at=one.row.read_at) != one.row or contacts.get(now.id) != one.contact:
                self.drift.changed += 1
            elif one.record is None:
                self.drift.is_unknown(one.row.key)
            elif self._count(one) and self._may_queue(one):
                queued.append(one.row)
        if self._wanted.flips:
            await self._flip(queued)

    def _count(self, one: _Difference) -> bool:
        """Whether it differs, ignoring fields that the row says the CRM did not accept."""
        self.drift.compared += 1
        refused = left_out(one.row.error) & one.fields.keys()
        sent: Mapping[str, Any] = {**one.contact.filled, **dict.fromkeys(one.contact.emptied, ""), EMAIL: one.contact.email}
        for name, held in one.fields.items():
            if name in refused:
                self._not_stored(name)
                continue
            example = Example(one.row.key, sent[name], held) if self._wanted.values else Example(one.row.key)
            self.drift.differs(name, example)
        differs = len(refused) < len(one.fields)
        self.drift.differing += differs
        return differs

    def _may_queue(self, one: _Difference) -> bool:
        if one.opted_out:
            self.drift.has_opted_out(one.row.key)
        elif one.off_list:
            self.drift.is_off_list(one.row.key)
        elif one.opted_out is None or one.off_list is None:
            self.drift.perhaps_opted_out += 1
        else:
            return True
        return False

    def _not_stored(self, name: str) -> None:
        self.drift.not_stored[name] = self.drift.not_stored.get(name, 0) + 1

    async def _flip(self, rows: Sequence[Row]) -> None:
        done = await self._comparing.flip(rows)
        self.drift.flipped += done.flipped
        self.drift.locked += len(done.locked)
        self.drift.refused += len(done.refused)
        if done.flipped:
            await self._queued(done.flipped)
