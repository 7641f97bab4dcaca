"""The contacts that a person asks about: found by key, address or id in a CRM, in the table or among what was deleted.

By its key a contact is found by an index, always, and by its id in a CRM too. The address need not have one: then the whole table
is read, for LOOK_S at most, and what that cost is said.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from crm_sync.errors import DeclinedError, RowRefusedError, TooSlowError
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query, render
from crm_sync.reports.named_contact import NamedContact
from crm_sync.table.adopted_table import LaneTable

LOOK_S = 10.0  # that the whole table is read for an address
MOST = 10  # contacts that are told of
BY_INDEX = {"as it is": "find_by_exact_address", "in small letters": "find_by_lower_address"}


@dataclass(frozen=True, slots=True)
class Found:
    """keys: as text; at most MOST. by: what they were found by. looked_for: by what nothing was found. note: what it cost."""

    keys: Sequence[str]
    by: str | None = None
    looked_for: list[str] = field(default_factory=list)
    note: str | None = None


async def find_contacts(
    database: Database, tables: Mapping[str, LaneTable], asked: NamedContact, *, look_s: float = LOOK_S
) -> Found:
    """look_s: seconds that the whole table is read for an address. Raises DeclinedError if it is too large for that, else as
    Database.fetch does.
    """
    if asked.key is not None:
        return await _by_key(database, tables, asked.key)
    if not tables:
        raise DeclinedError("no CRM's columns are complete, so no contact can be found by its address: run `crm-sync check`")
    return await _by_address(database, next(iter(tables.values())), (asked.email or "").strip(), look_s)


async def _by_key(database: Database, tables: Mapping[str, LaneTable], key: str) -> Found:
    text = _text(key)
    rows = await database.fetch(query("tell_verdicts"), text)
    if any(row["verdict"] != "not found" for row in rows):
        return Found([text], "key")
    looked_for = ["a key", "a deleted contact"]
    for crm, table in tables.items():
        looked_for.append(f"an id in {crm}")
        try:
            found = await database.fetch(render("find_by_remote_id", table.variables), text)
        except RowRefusedError:  # such a text is no id there
            continue
        if found:
            return Found([row["key"] for row in found], f"id in {crm}")
    return Found([], None, looked_for)


async def _by_address(database: Database, table: LaneTable, address: str, look_s: float) -> Found:
    text, variables = _text(address), table.variables
    kinds = [row["kind"] for row in await database.fetch(query("list_address_indexes"), variables["email"].strip('"'))]
    for kind in sorted(kinds, reverse=True):  # lower-case letters first: they find more
        if rows := await database.fetch(render(BY_INDEX[kind], variables), text):
            return Found([row["key"] for row in rows[:MOST]], "address")
    started = time.monotonic()
    try:
        rows = await database.fetch_within(look_s, render("find_by_address", variables), text)
    except TooSlowError as error:
        raise DeclinedError(
            f"the table {variables['contacts']} cannot be searched for an address within {look_s:.0f} s, and no index finds it: "
            f"name "
            f"the contact by its key, or CREATE INDEX CONCURRENTLY ON {variables['contacts']} (lower({variables['email']}))"
        ) from error
    note = (
        f"The whole table was read for the address, in {time.monotonic() - started:.1f} s: no index found it. --key takes "
        f"milliseconds, and so does an index on lower({variables['email']})."
    )
    if rows:
        return Found([row["key"] for row in rows[:MOST]], "address", note=note)
    deleted = await database.fetch(render("find_deleted_by_address", variables), text)
    if deleted:
        return Found([row["id"] for row in deleted], "address of a deleted contact", note=note)
    return Found([], None, ["an address", "a deleted contact"], note)


def _text(written: str) -> str:
    """What a shell hands on need not be text."""
    return written.encode(errors="replace").decode().replace("\0", "")
