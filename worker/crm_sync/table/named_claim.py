"""A contact that a person named, claimed out of turn: flipped if necessary, and claimed in the same transaction.

So no other worker takes it in between, and if it is not available, nothing is changed.
"""

from collections.abc import Sequence
from typing import Any

from crm_sync.core.outcome import Contact
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import render
from crm_sync.postgres.transactions import transaction
from crm_sync.table.adopted_table import LaneTable
from crm_sync.table.careful_claim import held
from crm_sync.table.clearing import Clearing, SentNotes
from crm_sync.table.mapped_reader import mapped_reader
from crm_sync.table.mapping import FieldMapping
from crm_sync.table.unreadable_rows import Claimed


class _NotToBeHadError(Exception):
    """Undoes the flip."""


class NamedClaim:
    """One CRM's view of the table. Every method raises as Database.fetch does."""

    def __init__(self, database: Database, table: LaneTable, mapping: FieldMapping, clearing: Clearing | None = None) -> None:
        """clearing: which fields are emptied; none without it."""
        clearing = clearing or Clearing(table.crm)
        self._database = database
        self._notes = SentNotes(database, table, clearing)
        self._flip = render("flip_named", table.variables)
        self._claim = render("claim_named", table.variables)
        self._reader = mapped_reader(database, table, mapping, clearing)

    async def claim(self, ids: Sequence[Any], token: int, *, flip: bool) -> list[Contact]:
        """The named contact first, then those of its twins that are in line; without fields. Empty if the named one is not
        available: another worker was faster, its row is locked by the application, or no worker may call the CRM now. flip: it
        was not in line when it was read. One that was in line and no longer is has been delivered.
        """
        try:
            async with self._database.connection() as connection, transaction(connection):
                if flip:
                    await connection.fetch(self._flip, ids[0])
                rows = await connection.fetch(self._claim, list(ids), token)
                contacts = held(rows, token)
                if ids[0] not in [contact.id for contact in contacts]:
                    raise _NotToBeHadError  # noqa: TRY301 (it rolls back)
        except _NotToBeHadError:
            return []
        return contacts

    async def read(self, contacts: Sequence[Contact], token: int) -> Claimed:
        """What is to be sent for claimed contacts."""
        return await self._notes.note(await self._reader.read(contacts, token), token)
