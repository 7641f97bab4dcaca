"""Whether what a lane sends fits the CRM's fields: checked before its first request, and every hour while it delivers.

A misfit holds the lane like a refusal by the CRM, and each probe checks again, so that the lane goes on once either side is
fixed. If the fields cannot be read, nothing is held: the key may lack that right, and a delivery tells more about an outage than
this check.
"""

import asyncio
import math
import time

import structlog

from crm_sync import events
from crm_sync.core.codes import Code
from crm_sync.core.remote_schema import told
from crm_sync.core.text import clean
from crm_sync.core.waits import Waits
from crm_sync.crm.client import Client
from crm_sync.crm.plug_in_errors import ask_misfits
from crm_sync.crm.trail import as_operation, current
from crm_sync.errors import HeldBackError, LaneError, NotSentError, RefusedError, ThrottledError
from crm_sync.measurements import Operation
from crm_sync.table.mapping import FieldMapping

# These would apply to the next request too.
_OF_ALL = (HeldBackError, NotSentError, ThrottledError)


class RemoteFields:
    """For one lane. It sends its requests as part of a delivery: with a permit, within the limits, while the
    CRM may be called.
    """

    def __init__(self, crm: str, client: Client, mapping: FieldMapping, waits: Waits) -> None:
        self._client = client
        self._sent = mapping.shapes
        self._known_s = waits.fields_again_s
        self._unknown_s = waits.fields_unknown_s
        self._asked_at = -math.inf
        self._good_until = -math.inf
        self._refusal: RefusedError | None = None
        self._turn = asyncio.Lock()
        self._told: set[str] = set()
        self._log = structlog.get_logger().bind(crm=crm)

    async def prove(self) -> None:
        """Raises RefusedError if something can never arrive, and any error that says the CRM must not be called now."""
        began = time.monotonic()
        if began < self._good_until:
            return
        try:
            async with self._turn:
                if self._asked_at < began:  # otherwise another task has asked meanwhile
                    await self._ask()
        except BaseException:
            current().is_whole = True  # the client is asked for no delivery
            raise
        if self._refusal is not None:
            raise self._refusal

    async def _ask(self) -> None:
        self._refusal = None
        try:
            with as_operation(Operation.FIELDS):
                misfits = await ask_misfits(self._client, self._sent)
        except _OF_ALL:
            raise
        except LaneError as error:
            self._unknown(error.code, str(error))
            return
        self._asked(self._known_s if not misfits else 0.0)
        if misfits:
            code = Code.UNKNOWN_FIELD if any(misfit.missing for misfit in misfits) else Code.FIELD_MISFIT
            self._refusal = RefusedError(code, told(misfits))

    def _asked(self, good_for_s: float) -> None:
        self._asked_at = time.monotonic()
        self._good_until = self._asked_at + good_for_s

    def _unknown(self, code: str, reason: str) -> None:
        """Reports each code only once."""
        self._asked(self._unknown_s)
        if code not in self._told:
            self._told.add(code)
            self._log.warning(events.FIELDS_UNKNOWN, reason=clean(reason), note="contacts are still delivered")
