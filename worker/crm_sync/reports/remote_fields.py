"""The mapping of one CRM compared with the fields of its account, for people: `crm-sync check` and others."""

from collections.abc import Sequence
from dataclasses import dataclass

from crm_sync.core.remote_schema import Misfit
from crm_sync.crm.client import Client
from crm_sync.crm.plug_in_errors import ask_misfits
from crm_sync.errors import LaneError
from crm_sync.table.mapping import FieldMapping


@dataclass(frozen=True, slots=True)
class FieldComparison:
    """known: what was compared, None if the CRM does not list its fields. misfits: what can never arrive.

    unknown: why the CRM did not list its fields.
    """

    known: int | None
    misfits: Sequence[Misfit] = ()
    unknown: str | None = None


async def compare_fields(client: Client, mapping: FieldMapping) -> FieldComparison:
    """Asks only the CRM. Raises no error of the CRM or of a client."""
    try:
        misfits = await ask_misfits(client, mapping.shapes)
    except LaneError as error:
        return FieldComparison(None, unknown=str(error))
    return FieldComparison(None) if misfits is None else FieldComparison(len(mapping.shapes), misfits)
