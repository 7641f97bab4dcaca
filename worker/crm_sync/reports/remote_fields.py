"""The mapping of one CRM held against the fields that its account has, for people: `crm-sync check`, and others who ask."""

from collections.abc import Sequence
from dataclasses import dataclass

from crm_sync.core.remote_schema import Misfit
from crm_sync.crm.client import Client
from crm_sync.crm.plug_in_errors import ask_misfits
from crm_sync.errors import LaneError
from crm_sync.table.mapping import FieldMapping


@dataclass(frozen=True, slots=True)
class FieldComparison:
    """known: what was compared, None if the CRM names no fields. misfits: what can never arrive.

    unknown: why the CRM would not say which fields it has.
    """

    known: int | None
    misfits: Sequence[Misfit] = ()
    unknown: str | None = None


async def compare_fields(client: Client, mapping: FieldMapping) -> FieldComparison:
    """Asks the CRM, and nothing else. Raises nothing that a CRM says, or a client does."""
    try:
        misfits = await ask_misfits(client, mapping.shapes)
    except LaneError as error:
        return FieldComparison(None, unknown=str(error))
    return FieldComparison(None) if misfits is None else FieldComparison(len(mapping.shapes), misfits)
