"""Finds the contacts that a person asks about, by key, address or id in a CRM, in the table or among deleted ones.

Keys and ids in a CRM always have an index. Once a deletion has been delivered, only the history still has its key. The address
may have no index: then the whole table is read, for LOOK_S at most, and the cost is reported.
"""

import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from crm_sync.core.durations import clock
from crm_sync.errors import ConfigurationError, DeclinedError, RowRefusedError, TooSlowError
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query, render
from crm_sync.reports.named_contact import NamedContact
from crm_sync.table.address_index import AddressIndex, address_indexes, missing_index
from crm_sync.table.adopted_table import LaneTable
from crm_sync.table.one_contact import read_key

LOOK_S = 10.0  # for which the whole table is read to find an address
NOTABLE_S = 0.5  # for which that takes until an index is recommended
MOST = 10  # contacts that are listed
LINES = 20  # of a contact's history that are examined


@dataclass(frozen=True, slots=True)
class Found:
    """keys: as text; at most MOST. by: what they were found by. looked_for: the searches that found nothing.

    note: the cost of a search that took long; for a key that no row has, what the history says. not_read: about how many
    contacts there are, if no index can tell that none of them has the address, and they were not read.
    """

    keys: Sequence[str]
    by: str | None = None
    looked_for: list[str] = field(default_factory=list)
    note: str | None = None
    not_read: int | None = None


async def find_contacts(
    database: Database,
    tables: Mapping[str, LaneTable],
    asked: NamedContact,
    *,
    look_s: float = LOOK_S,
    read_at_most: int | None = None,
) -> Found:
    """look_s: seconds for which the whole table is read to find an address. read_at_most: contacts, about; a larger table is not
    read. Raises DeclinedError if it cannot be read in that time, else as Database.fetch does.
    """
    if asked.key is not None:
        return await _by_key(database, tables, asked.key)
    if not tables:
        raise DeclinedError("no CRM's columns are complete, so no contact can be found by its address: run `crm-sync check`")
    return await _by_address(database, next(iter(tables.values())), (asked.email or "").strip(), look_s, read_at_most)


async def _by_key(database: Database, tables: Mapping[str, LaneTable], key: str) -> Found:
    text = _text(key)
    rows = await database.fetch(query("tell_verdicts"), text)
    told = {row["verdict"] for row in rows} - {"misconfigured"}  # which says nothing about a contact
    if told - {"not found"} or (rows and not told):
        is_gone = "deleted" in told and told <= {"not found", "deleted"}
        return Found([text], "key", note=await _told_by_history(database, tables, text, deletions_only=True) if is_gone else None)
    looked_for = ["a key", "a deleted contact"]
    for crm, table in tables.items():
        looked_for.append(f"an id in {crm}")
        try:
            found = await database.fetch(render("find_by_remote_id", table.variables), text)
        except RowRefusedError:  # not a valid id there
            continue
        if found:
            return Found([row["key"] for row in found], f"id in {crm}")
    return Found([], None, looked_for, note=await _told_by_history(database, tables, text))


async def _told_by_history(
    database: Database, tables: Mapping[str, LaneTable], key: str, *, deletions_only: bool = False
) -> str | None:
    """For a key that no row has: what the history says about it, and how to read it. deletions_only: only if a deletion was
    delivered.
    """
    if not tables:
        return None
    table = next(iter(tables.values()))
    try:
        ids = [await read_key(database, table, key)]
        rows = [dict(row) for row in await database.fetch(render("list_history", table.variables), ids, None, LINES)]
    except (ConfigurationError, DeclinedError):  # a right that a role need not have; or the text is not a key here
        return None
    if not rows or (deletions_only and not any(_is_delivered_deletion(row) for row in rows)):
        return None
    now = await database.value(query("read_clock"))
    gone = {row["crm"]: row["at"] for row in reversed(rows) if _is_delivered_deletion(row)}
    said = "History has what became of it"
    if gone:
        said = f"Its record was deleted in {', '.join(f'{crm} at {clock(at, now)}' for crm, at in sorted(gone.items()))}"
    return f"{said}: crm-sync history --key {shlex.quote(key)}"


def _is_delivered_deletion(row: Mapping[str, Any]) -> bool:
    return (row["operation"], row["outcome"]) == ("delete", "delivered")


async def _by_address(database: Database, table: LaneTable, address: str, look_s: float, read_at_most: int | None) -> Found:
    text, variables = _text(address), table.variables
    indexes = await address_indexes(database, variables["email_name"])
    for index in indexes:
        if rows := await database.fetch(render(index.statement, variables), text):
            return Found([row["key"] for row in rows[:MOST]], "address")
    if read_at_most is not None and (contacts := await database.value(query("estimate_contacts"))) > read_at_most:
        return await _unread(database, table, text, indexes, contacts)
    started = time.monotonic()
    try:
        rows = await database.fetch_within(look_s, render("find_by_address", variables), text)
    except TooSlowError as error:
        raise DeclinedError(
            f"the table {variables['contacts_name']} cannot be searched for an address within {look_s:.0f} s, and no index finds "
            f"it: name the contact by its key, or {missing_index(variables)}"
        ) from error
    took_s = time.monotonic() - started
    note = None
    if took_s >= NOTABLE_S:
        note = (
            f"The whole table was read for the address, in {took_s:.1f} s: no index found it. A key is found in milliseconds, "
            f"and so is an address with an index on lower({variables['email']})."
        )
    if rows:
        return Found([row["key"] for row in rows[:MOST]], "address", note=note)
    return await _deleted(database, table, text, Found([], None, ["an address", "a deleted contact"], note))


async def _unread(database: Database, table: LaneTable, text: str, indexes: Sequence[AddressIndex], contacts: int) -> Found:
    """What no index finds, in a table that is not read."""
    if any(index.ignores_case for index in indexes):
        return await _deleted(database, table, text, Found([], None, ["an address", "a deleted contact"]))
    tried = ["an address exactly as written, or in lower case"] if indexes else []
    found = "no other spelling of it" if indexes else "no address"
    note = (
        f"The table has about {contacts:,} contacts and was not read: an index finds {found}. This one finds each in any case: "
        f"{missing_index(table.variables)}."
    )
    return await _deleted(database, table, text, Found([], None, [*tried, "a deleted contact"], note, not_read=contacts))


async def _deleted(database: Database, table: LaneTable, text: str, otherwise: Found) -> Found:
    deleted = await database.fetch(render("find_deleted_by_address", table.variables), text)
    if not deleted:
        return otherwise
    return replace(otherwise, keys=[row["id"] for row in deleted], by="address of a deleted contact", looked_for=[])


def _text(written: str) -> str:
    """Arguments from a shell need not be valid text."""
    return written.encode(errors="replace").decode().replace("\0", "")
