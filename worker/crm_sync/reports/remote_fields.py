"""The mapping of one CRM held against the fields that its account has, for people: `crm-sync check`, and whoever else asks."""

from collections.abc import Sequence
from dataclasses import dataclass

from crm_sync.core.remote_schema import Misfit
from crm_sync.crm.client import Client
from crm_sync.errors import LaneError
from crm_sync.table.mapping import FieldMapping


@dataclass(frozen=True, slots=True)
class FieldComparison:
    """known: what was compared, None where the CRM names no fields. misfits: what can never arrive.

    unknown: why the CRM would not say which fields it has.
    """

    known: int | None
    misfits: Sequence[Misfit] = ()
    unknown: str | None = None


async def compare_fields(client: Client, mapping: FieldMapping) -> FieldComparison:
    """Asks the CRM, and nothing else. Raises nothing that a CRM says."""
    try:
        schema = await client.schema()
    except LaneError as error:
        return FieldComparison(None, unknown=str(error))
    if schema is None:
        return FieldComparison(None)
    return FieldComparison(len(mapping.shapes), schema.misfits(mapping.shapes))
