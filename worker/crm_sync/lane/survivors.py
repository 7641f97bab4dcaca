"""Contacts that live on after a deletion: other rows of the person, or the person inserted again.

Before a deletion, one that has the record, or may soon get it, keeps it. That cannot be known for sure. A deletion whose answer
was lost may arrive after the delivery that found the record. A row may be given the record at the very moment of the request, or
be in flight with it while its outcome cannot be written. So after a deletion, whatever has the record by then is flipped: it is
sent once more, and gets a new one. A deletion is not over while a contact is in flight that may have been sent before it.

A CRM without records, such as n8n, gets every deletion, and knows its contacts by their keys or their addresses. There the
order counts: a contact with the same key or address that was sent before the deletion is sent again after it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

import structlog

from crm_sync import events
from crm_sync.core.identity import spellings
from crm_sync.core.moments import BEGINNING
from crm_sync.core.outcome import Deletion
from crm_sync.core.text import name_of
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import OFF, ON, render
from crm_sync.table.address_index import AddressIndex, address_indexes
from crm_sync.table.adopted_table import LaneTable
from crm_sync.table.sending_again import SendingAgain

SHARED, WANTED = "shared", "wanted"  # as in find_survivors.sql

log = structlog.get_logger()


class Survivors:
    """Of one CRM's deletions, by the ids of their tombstones. Every method raises as Database.fetch does."""

    def __init__(self, table: LaneTable, database: Database, *, keeps_records: bool) -> None:
        self._database = database
        self._keeps_records = keeps_records
        self._variables = table.variables
        self._sending_again = SendingAgain(database, table.variables)
        self._find = render("find_survivors", table.variables)
        self._log = log.bind(crm=table.crm)

    async def find(self, deletions: Mapping[int, Deletion], since: datetime, *, in_flight: bool = False) -> set[tuple[int, str]]:
        """Which deletions would take its record from a contact, and why. Of the contacts in line, checks only those due since
        then. in_flight: and of these only those in flight.
        """
        if not self._keeps_records:
            return set()
        asked = [
            (tombstone, one.remote_id if first else None, address, one.contact_id)
            for tombstone, one in deletions.items()
            for first, address in _firsts(spellings(one.email or ""))
        ]
        tombstones, records, addresses, keys = (list(column) for column in zip(*asked, strict=True))
        rows = await self._database.fetch(self._find, tombstones, records, addresses, since, keys, in_flight)
        return {(row["id"], row["survivor"]) for row in rows}

    async def send_again(self, deletions: Mapping[int, Deletion]) -> set[int]:
        """After these deletions have reached the CRM: flips those that live on. Returns the deletions that are not over, because
        a contact is in flight, or its row locked.
        """
        if not deletions:
            return set()
        # First what is in flight: what is finished meanwhile has its record when it is looked for.
        in_flight = await self.find(deletions, BEGINNING, in_flight=True)
        unfinished = {tombstone for tombstone, survivor in in_flight if survivor == WANTED}
        rows = await self._sending_again.flip(await self._flip(), *self._named(deletions))
        locked = {row["tombstone"] for row in rows if not row["is_flipped"]}
        for tombstone in {row["tombstone"] for row in rows} - locked:
            self._log.info(events.SURVIVOR_FLIPPED, contact=name_of(deletions[tombstone].contact_id))
        return unfinished | locked

    def _named(self, deletions: Mapping[int, Deletion]) -> list[Sequence[int | str | None]]:
        """By its record, or where none is known by key and address, in one form."""
        records = [one.remote_id if self._keeps_records else None for one in deletions.values()]
        unknown = [one if record is None else None for one, record in zip(deletions.values(), records, strict=True)]
        return [list(deletions), records, [one and one.contact_id for one in unknown], [one and one.email for one in unknown]]

    async def _flip(self) -> str:
        best = next(iter(await address_indexes(self._database, self._variables["email_name"])), None)
        by_lower = best is AddressIndex.LOWER
        switches = {"by_lower_address": by_lower, "by_exact_address": best is not None and not by_lower}
        return render("flip_survivors", {**self._variables, **{name: ON if on else OFF for name, on in switches.items()}})


def _firsts(texts: Sequence[str]) -> list[tuple[bool, str]]:
    return [(place == 0, text) for place, text in enumerate(texts)]
