"""What `check` says about fields that are cleared in a CRM."""

from crm_sync.errors import DatabaseTroubleError
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import render
from crm_sync.table.adopted_table import LaneTable
from crm_sync.table.clearing import read_clearing
from crm_sync.table.mapping import FieldMapping

PATIENCE_S = 5.0  # the whole table is read


async def clearing_note(database: Database, table: LaneTable, mapping: FieldMapping) -> str | None:
    """None if no field is cleared."""
    if not mapping.emptied:
        return None
    said = f"cleared in the CRM when the row becomes empty: {', '.join(mapping.emptied)}"
    clearing = await read_clearing(database, table.crm, mapping.emptied, numbering=False)
    if not clearing:
        return f"{said}. None of them was sent since clearing is on"
    parts = [
        f"CASE WHEN btrim(coalesce(({mapping.fields[name]})::text, '')) IN ('', '{{}}', '[]') THEN {bit}::bigint ELSE 0 END"
        for name, bit in clearing.bits.items()
    ]
    statement = render("count_emptied", {**clearing.variables(table), "emptied": " | ".join(parts)})
    try:
        count = (await database.fetch_within(PATIENCE_S, statement))[0][0]
    except DatabaseTroubleError:
        return f"{said}. Counting the contacts that this concerns takes too long"
    return f"{said}. Contacts that the next flip clears: {count:,}"
