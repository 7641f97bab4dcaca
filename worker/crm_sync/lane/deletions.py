"""Deletions as deliveries: a client that deletes instead of upserting.

So the breaker, the rate limit, the permits, the halving of batches and the retries are those of `crm_sync.lane.delivery`. The
difference is what happens before a request: a record without a known id is looked up by address, and a record that belongs to an
existing contact is left alone. And after it: see `crm_sync.lane.survivors`.

A refusal stops only deletions. A key with the right to write contacts may lack the right to delete them, which must not stop the
lane. If the CRM refuses everything, the next contact shows it.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

import structlog

from crm_sync import events
from crm_sync.core.identity import check_email
from crm_sync.core.moments import BEGINNING
from crm_sync.core.outcome import Contact, Deletion, Outcome, Unsent
from crm_sync.core.text import name_of
from crm_sync.crm.client import Client, Entry
from crm_sync.errors import RefusedError
from crm_sync.lane.survivors import SHARED, WANTED, Survivors
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import render

REFUSED_S = 60.0  # before another try, as with contacts
WANTED_S = 15.0  # until a contact that may get this record has been delivered or has failed
LATE_COMMIT = timedelta(seconds=10)  # a flip can be this much older than its commit

log = structlog.get_logger()


class Deleter(Client):
    """deletions: by the id of their tombstone, which also serves as the id of the contact that represents it here.

    gone: those whose records may have been deleted, by now or by an earlier request, with the ids of the records.
    """

    def __init__(self, crm: str, client: Client, database: Database, survivors: Survivors, variables: Mapping[str, str]) -> None:
        self.batch_limit = client.delete_limit
        self.concurrency = client.concurrency
        self.leaves_trail = client.leaves_trail
        self.deletions: dict[int, Deletion] = {}
        self.gone: dict[int, Deletion] = {}
        self._tried: Collection[int] = ()
        self._wanted: set[int] = set()
        self._since = BEGINNING
        self._client = client
        self._database = database
        self._survivors = survivors
        self._lost = render("find_lost_records", variables)
        self._log = log.bind(crm=crm)

    async def begin(self, deletions: dict[int, Deletion], tried: Collection[int], claimed_at: datetime) -> None:
        """With what was just claimed, at claimed_at by the database's clock. tried: those of them that may have reached the CRM
        before. Raises as Database.fetch does.
        """
        self.deletions, self.gone, self._tried = deletions, {}, tried
        survivors = await self._survivors.find(deletions, BEGINNING)
        self._wanted = {tombstone for tombstone, survivor in survivors if survivor == WANTED}
        self._since = claimed_at - LATE_COMMIT

    async def check(self) -> str:
        return await self._client.check()

    def key(self, contact: Contact) -> str | None:
        return self._client.key(contact)

    async def deliver(self, contacts: Sequence[Contact]) -> Sequence[Entry]:
        """Raises LaneError, and as Database.fetch does."""
        entries: dict[int, Entry] = {}
        todo = {contact.id: self.deletions[contact.id] for contact in contacts}
        try:
            await self._find(todo, entries)
            await self._spare(todo, entries)
            # Right after the check, so that another contact is very unlikely to get the record in between.
            if todo:
                self.gone.update(todo)
                entries.update(zip(todo, await self._client.delete(list(todo.values())), strict=True))
        except RefusedError as error:
            entries.update(dict.fromkeys(todo, error))
        return [entries[contact.id] for contact in contacts]

    async def _find(self, todo: dict[int, Deletion], entries: dict[int, Entry]) -> None:
        """Fills in unknown ids. If no record has the address, or it is not an address, there is nothing to delete. Without an
        address, only the history may know the id.
        """
        if not self._client.keeps_records:
            return
        addresses = {tombstone: (deletion.email or "").strip() for tombstone, deletion in todo.items() if not deletion.remote_id}
        wanted = [address for address in dict.fromkeys(addresses.values()) if check_email(address) is None]
        found = dict(zip(wanted, await self._client.find(wanted), strict=True)) if wanted else {}
        lost = await self._find_lost([todo[tombstone].contact_id for tombstone, address in addresses.items() if not address])
        for tombstone, address in addresses.items():
            record = found.get(address) if address else lost.get(todo[tombstone].contact_id)
            if isinstance(record, str):
                todo[tombstone] = todo[tombstone]._replace(remote_id=record)
                continue
            if tombstone in self._tried:
                self.gone[tombstone] = todo[tombstone]  # an earlier request may have deleted it
            del todo[tombstone]
            if address not in found:
                entries[tombstone] = Unsent(done=True)
            else:
                entries[tombstone] = Outcome.delivered(None) if record is None else record

    async def _find_lost(self, keys: Sequence[str]) -> dict[str, str]:
        return {row["key"]: row["remote_id"] for row in await self._database.fetch(self._lost, keys)} if keys else {}

    async def _spare(self, todo: dict[int, Deletion], entries: dict[int, Entry]) -> None:
        """Removes deletions whose record belongs to an existing contact, or may soon."""
        survivors = await self._survivors.find(todo, self._since) if todo else set()
        for tombstone, survivor in sorted(survivors | {(tombstone, WANTED) for tombstone in self._wanted & todo.keys()}):
            deletion = todo.pop(tombstone, None)
            if deletion is None:
                continue
            if survivor == SHARED and tombstone in self._tried:
                self.gone[tombstone] = deletion
                entries[tombstone] = Unsent(done=True)
            elif survivor == SHARED:
                self._log.info(
                    events.RECORD_KEPT, contact=name_of(deletion.contact_id), note="another contact has the same record"
                )
                entries[tombstone] = Unsent(done=True)
            else:
                entries[tombstone] = Unsent(done=False, delay_s=WANTED_S)


def put_off(error: RefusedError) -> Unsent:
    """Everything is refused. That holds up only deletions, so it is not reported as a fault of the lane."""
    return Unsent(done=False, delay_s=REFUSED_S, reason=f"{error.code}: {error.reason}")
