"""Whether what a lane sends fits the CRM's fields: checked before its first request, and every hour while it delivers."""

from crm_sync import events
from crm_sync.core.codes import Code
from crm_sync.core.remote_schema import told
from crm_sync.core.waits import Waits
from crm_sync.crm.client import Client
from crm_sync.crm.plug_in_errors import ask_misfits
from crm_sync.crm.trail import as_operation
from crm_sync.errors import HeldBackError, LaneError, NotSentError, RefusedError, ThrottledError
from crm_sync.lane.proof import Proof
from crm_sync.measurements import Operation
from crm_sync.table.mapping import FieldMapping

# These would apply to the next request too.
_OF_ALL = (HeldBackError, NotSentError, ThrottledError)


class RemoteFields(Proof):
    """Refuses all if something in the mapping can never arrive. The key may lack the right to read fields."""

    def __init__(self, crm: str, client: Client, mapping: FieldMapping, waits: Waits) -> None:
        super().__init__(crm, waits, good_for_s=waits.fields_again_s)
        self._client = client
        self._sent = mapping.shapes

    async def _ask(self) -> None:
        try:
            with as_operation(Operation.FIELDS):
                misfits = await ask_misfits(self._client, self._sent)
        except _OF_ALL:
            raise
        except LaneError as error:
            self._unknown(error)
            return
        if misfits:
            code = Code.UNKNOWN_FIELD if any(misfit.missing for misfit in misfits) else Code.FIELD_MISFIT
            self._refuse(RefusedError(code, told(misfits)))
        else:
            self._good()

    def _tell_unknown(self, reason: str) -> None:
        self._log.warning(events.FIELDS_UNKNOWN, reason=reason, note="contacts are still delivered")
