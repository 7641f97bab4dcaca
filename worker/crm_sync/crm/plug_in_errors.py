"""What a client raises that is no LaneError, where it is asked something that is about no contact.

It is a fault of a plug-in, or of ours. With a contact, the lane finds out whose it is (`crm_sync.lane.client_faults`).
"""

import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from crm_sync.core.codes import Code
from crm_sync.core.remote_schema import Misfit, RemoteSchema, SentField
from crm_sync.crm.client import Client
from crm_sync.errors import CrmSyncError, OutageError


@contextmanager
def told_as_lane_errors() -> Iterator[None]:
    """Raises OutageError in its place, with the kind of the error and where it was raised, without its words."""
    try:
        yield
    except CrmSyncError:
        raise
    except Exception as error:  # noqa: BLE001 (somebody else's client can fail in any way)
        frames = traceback.extract_tb(error.__traceback__)
        place = f" in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
        raise OutageError(Code.CLIENT_FAILED, f"the client of this CRM failed: {type(error).__name__}{place}") from None


async def ask_misfits(client: Client, sent: Iterable[SentField]) -> list[Misfit] | None:
    """What of the mapping can never arrive; None if the CRM names no fields. Raises LaneError, whatever the client does."""
    with told_as_lane_errors():
        schema = await client.schema()
        if schema is None:
            return None
        if not isinstance(schema, RemoteSchema):
            raise TypeError("no RemoteSchema")
        return schema.misfits(sent)
