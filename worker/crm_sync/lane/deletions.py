"""Deletions as deliveries: a client that deletes where another one upserts.

So the breaker, the pace, the permits, the halving of batches and the retries are those of `crm_sync.lane.delivery`. What is
different is what comes before a request: the record is found by address where its id is not known, and is left alone where a
contact that is still there has it.

A refusal stops deletions only. A key that may write contacts may lack the right to delete them, and the lane must not stand still
for that; where everybody is refused, the next contact finds out.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import structlog

from crm_sync import events
from crm_sync.core.identity import check_email
from crm_sync.core.outcome import Contact, Deletion, Outcome, Unsent
from crm_sync.core.text import name_of
from crm_sync.crm.client import Client, Entry
from crm_sync.errors import RefusedError
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import render
from crm_sync.table.contacts import BEGINNING

REFUSED_S = 60.0  # before another try, as with contacts
WANTED_S = 15.0  # until a contact that may get this record has been delivered, or not
LATE_COMMIT = timedelta(seconds=10)  # a flip can be as much older than its commit

SHARED, WANTED = "shared", "wanted"  # as find_survivors.sql says it

log = structlog.get_logger()


class Deleter(Client):
    """deletions: by the id of their tombstone, which is that of the contact it stands for here."""

    def __init__(self, crm: str, client: Client, database: Database, variables: Mapping[str, str]) -> None:
        self.batch_limit = client.delete_limit
        self.concurrency = client.concurrency
        self.deletions: dict[int, Deletion] = {}
        self._wanted: set[int] = set()
        self._since = BEGINNING
        self._client = client
        self._database = database
        self._survivors = render("find_survivors", variables)
        self._log = log.bind(crm=crm)

    async def begin(self, deletions: dict[int, Deletion], claimed_at: datetime) -> None:
        """With what was claimed just now, by the clock of the database. Raises as Database.fetch does."""
        self.deletions = deletions
        survivors = await self._find_survivors(deletions, BEGINNING)
        self._wanted = {tombstone for tombstone, survivor in survivors if survivor == WANTED}
        self._since = claimed_at - LATE_COMMIT

    async def check(self) -> str:
        return await self._client.check()

    async def deliver(self, contacts: Sequence[Contact]) -> Sequence[Entry]:
        """Raises LaneError, and as Database.fetch does."""
        entries: dict[int, Entry] = {}
        todo = {contact.id: self.deletions[contact.id] for contact in contacts}
        try:
            await self._find(todo, entries)
            await self._spare(todo, entries)
            # Right after the look, so that nobody gets such a record in between but by a hair.
            if todo:
                entries.update(zip(todo, await self._client.delete(list(todo.values())), strict=True))
        except RefusedError as error:
            entries.update(dict.fromkeys(todo, error))
        return [entries[contact.id] for contact in contacts]

    async def _find(self, todo: dict[int, Deletion], entries: dict[int, Entry]) -> None:
        """Puts in the ids that are not known. Where nobody has the address, or it is none, nothing is there."""
        if not self._client.keeps_records:
            return
        addresses = {tombstone: (deletion.email or "").strip() for tombstone, deletion in todo.items() if not deletion.remote_id}
        wanted = [address for address in dict.fromkeys(addresses.values()) if check_email(address) is None]
        found = dict(zip(wanted, await self._client.find(wanted), strict=True)) if wanted else {}
        for tombstone, address in addresses.items():
            record = found.get(address)
            if isinstance(record, str):
                todo[tombstone] = todo[tombstone]._replace(remote_id=record)
                continue
            del todo[tombstone]
            if address not in found:
                entries[tombstone] = Unsent(done=True)
            else:
                entries[tombstone] = Outcome.delivered(None) if record is None else record

    async def _spare(self, todo: dict[int, Deletion], entries: dict[int, Entry]) -> None:
        """Takes out what a contact that is still there has, or may get in a moment."""
        survivors = await self._find_survivors(todo, self._since) if todo else set()
        for tombstone, survivor in sorted(survivors | {(tombstone, WANTED) for tombstone in self._wanted & todo.keys()}):
            deletion = todo.pop(tombstone, None)
            if deletion is None:
                continue
            if survivor == SHARED:
                self._log.info(
                    events.RECORD_KEPT, contact=name_of(deletion.contact_id), note="another contact has the same record"
                )
                entries[tombstone] = Unsent(done=True)
            else:
                entries[tombstone] = Unsent(done=False, delay_s=WANTED_S)

    async def _find_survivors(self, deletions: Mapping[int, Deletion], since: datetime) -> set[tuple[int, str]]:
        """Of the contacts in line, only at those that are due since."""
        # Where there are no records none is shared: contacts of one call of n8n have the id of one execution.
        records = [one.remote_id if self._client.keeps_records else None for one in deletions.values()]
        addresses = [one.email for one in deletions.values()]
        rows = await self._database.fetch(self._survivors, list(deletions), records, addresses, since)
        return {(row["id"], row["survivor"]) for row in rows}


def put_off(error: RefusedError) -> Unsent:
    """Everybody is refused: that holds up no contact, so it is none of the lane."""
    return Unsent(done=False, delay_s=REFUSED_S, reason=f"{error.code}: {error.reason}")
