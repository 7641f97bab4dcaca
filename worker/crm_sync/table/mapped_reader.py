"""What a mapping sends for claimed contacts, and which of its fields are emptied."""

from crm_sync.postgres.pool import Database
from crm_sync.table.adopted_table import LaneTable
from crm_sync.table.clearing import Clearing
from crm_sync.table.mapping import FieldMapping
from crm_sync.table.unreadable_rows import Reader


def mapped_reader(database: Database, table: LaneTable, mapping: FieldMapping, clearing: Clearing) -> Reader:
    """Reads both."""
    return Reader(
        database,
        table.variables,
        mapping.email,
        {**mapping.fields, **clearing.column(table)},
        writers=mapping.writers,
        longest=mapping.longest,
        apart=mapping.apart,
        finish=clearing.read if clearing else None,
    )
