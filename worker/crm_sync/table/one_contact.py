"""The contacts that a person names by an address or a key: found, with their state in one CRM, and which of them is meant."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from crm_sync.core.moments import BEGINNING
from crm_sync.core.outcome import Contact
from crm_sync.core.text import printable
from crm_sync.errors import DeclinedError, RowRefusedError
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import render
from crm_sync.table.adopted_table import LaneTable
from crm_sync.table.clearing import Clearing
from crm_sync.table.mapped_reader import mapped_reader
from crm_sync.table.mapping import FieldMapping
from crm_sync.table.unreadable_rows import Claimed, joined

NO_CLAIM = 0  # a token of no claim
LONGEST_KEY = 100  # characters of one that are shown
NOT_ASKED_FOR = ("New", "Selected", "Skipped")


class Standing(StrEnum):
    """The state of a contact, from its row's columns, in one word."""

    IN_FLIGHT = "in flight"
    IN_LINE = "in line"
    WAITING = "waiting"  # until it is due
    UNSEEN = "unseen"  # Queued, but no trigger saw the flip
    NOT_ASKED_FOR = "not asked for"
    SETTLED = "settled"  # Complete or Error, or a state written by older code


@dataclass(frozen=True, slots=True)
class Match:
    """A row of show_contacts.sql: the CRM's columns, without their prefix."""

    id: Any
    sync_status: str
    processing_status: str | None
    processing_error: str | None
    remote_id: str | None
    attempts: int
    due_at: datetime | None
    claimed_by: int | None
    synced_at: datetime | None
    flipped_at: datetime | None
    now: datetime

    @property
    def standing(self) -> Standing:
        if self.claimed_by is not None:
            return Standing.IN_FLIGHT
        if self.sync_status == "Queued":
            if self.due_at is None:
                return Standing.UNSEEN
            return Standing.WAITING if self.due_at > self.now else Standing.IN_LINE
        return Standing.NOT_ASKED_FOR if self.sync_status in NOT_ASKED_FOR else Standing.SETTLED

    @property
    def worker(self) -> int | None:
        """The worker that has it in flight."""
        return None if self.claimed_by is None else self.claimed_by >> 32


async def find(database: Database, table: LaneTable, address: str) -> list[Any]:
    """The keys of the contacts with this address, ignoring case and surrounding whitespace. Raises as Database.fetch does."""
    text = address.encode(errors="replace").decode()  # arguments from a shell need not be valid text
    return [row["id"] for row in await database.fetch(render("find_by_address", table.variables), text)]


async def read_key(database: Database, table: LaneTable, key: str) -> Any:
    """A key as the driver needs it. Raises DeclinedError if the text is not a key, else as Database.fetch does."""
    try:
        return await database.value(render("read_key", table.variables), key.encode(errors="replace").decode())
    except RowRefusedError as error:
        kind = table.variables["id_type"].removeprefix("pg_catalog.")
        raise DeclinedError(f"the key {printable(key, LONGEST_KEY)} is not valid: the table's key is of type {kind}") from error


async def find_key(database: Database, table: LaneTable, key: str) -> list[Any]:
    """That key alone, if a contact has it. Raises as read_key does."""
    found = await database.fetch(render("find_by_key", table.variables), await read_key(database, table, key))
    return [row["id"] for row in found]


async def show(database: Database, table: LaneTable, ids: Sequence[Any]) -> list[Match]:
    """The contact that is meant comes first, because it is the one that is sent: the one flipped last among those in line; if
    none is, among those in flight; if none is, among those ever flipped.
    """
    rows = [Match(**dict(row)) for row in await database.fetch(render("show_contacts", table.variables), list(ids))]
    return sorted(rows, key=_rank, reverse=True)


async def read(
    database: Database, table: LaneTable, mapping: FieldMapping, matches: Sequence[Match], clearing: Clearing | None = None
) -> Claimed:
    """What would be sent for them, claimed or not. clearing: which fields are emptied; none without it.

    Raises as Database.fetch does.
    """
    clearing = clearing or Clearing(table.crm)
    contacts = [
        Contact(one.id, NO_CLAIM, one.attempts, one.remote_id, None, one.flipped_at or one.due_at or one.now, {})
        for one in matches
    ]
    reader = mapped_reader(database, table, mapping, clearing)
    return joined([await reader.read([contact], NO_CLAIM) for contact in contacts])


def _rank(match: Match) -> tuple[int, datetime, str]:
    order = (Standing.NOT_ASKED_FOR, Standing.SETTLED, Standing.IN_FLIGHT)
    place = order.index(match.standing) if match.standing in order else len(order)
    return place, match.flipped_at or BEGINNING, str(match.id)
