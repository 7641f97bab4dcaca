"""Features of the contacts table that may behave unexpectedly: the application's triggers and rules."""

from collections.abc import Collection

from crm_sync.core.table_words import flips_note, loop_note, narrow_note, rule_note
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query, quote
from crm_sync.table.address_index import MANY, address_indexes, missing_index
from crm_sync.table.adopted_table import OWN_COLUMNS, ROLL_UP, AdoptedTable, LaneTable


async def table_notes(database: Database, table: AdoptedTable, lanes: Collection[LaneTable]) -> list[str]:
    """A sentence for each. lanes: those whose columns are looked at. Raises as Database.fetch does."""
    notes = [
        narrow_note(row["name"], row["kind"], row["type"], row["constraint_name"])
        for row in await database.fetch(
            query("list_narrow_columns"), [lane.crm for lane in lanes], [lane.remote_id_column for lane in lanes]
        )
    ]
    flips = (await database.fetch(query("find_unseen_flips")))[0]
    if flips["triggers"] and not flips["are_seen"]:
        notes.append(f"{flips_note(flips['triggers'])}: run `crm-sync migrate`")
    written = [f"{lane.crm}_{column}" for lane in lanes for column in OWN_COLUMNS] + [lane.remote_id_column for lane in lanes]
    if loops := await database.fetch(query("list_loop_triggers"), [*written, *ROLL_UP]):
        notes.append(loop_note([row["name"] for row in loops]))
    notes += await _key_notes(database, table)
    notes += await delete_rule_notes(database)
    return notes + await address_notes(database, table)


async def address_notes(database: Database, table: AdoptedTable) -> list[str]:
    """Notes that no index finds an address, if searching takes long."""
    contacts = int(await database.value(query("estimate_contacts")))
    if contacts < MANY or await address_indexes(database, table.email):
        return []
    index = missing_index({"contacts_name": table.name, "email": quote(table.email)})
    return [f"no index finds an address among about {contacts:,} contacts: to look for one, the whole table is read: {index}"]


async def _key_notes(database: Database, table: AdoptedTable) -> list[str]:
    """About the index of the key, which may have been dropped since the adoption."""
    found = (await database.fetch(query("detect_key_index")))[0]
    advice = f"now: CREATE UNIQUE INDEX CONCURRENTLY ON {table.name} ({quote(table.key)})"
    if not found["is_found"]:
        return [f"no index begins with the key {table.key}, so each look at a contact reads the whole table {advice}"]
    return [] if found["is_unique"] else [f"nothing keeps two contacts from having the same {table.key} {advice}"]


async def delete_rule_notes(database: Database) -> list[str]:
    """About rules that keep rows from being deleted, if deletions are to be followed."""
    return [rule_note(row["name"], row["crms"]) for row in await database.fetch(query("list_delete_rules")) if row["crms"]]
