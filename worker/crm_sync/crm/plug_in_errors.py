"""Exceptions of a client that are not a LaneError, in calls that do not involve contacts.

They are bugs in a plug-in or in crm-sync. In calls with contacts, the lane handles them (`crm_sync.lane.client_faults`).
"""

import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from crm_sync.core.codes import Code
from crm_sync.core.remote_schema import Misfit, RemoteSchema, SentField
from crm_sync.core.text import printable
from crm_sync.crm.client import Client
from crm_sync.errors import CrmSyncError, OutageError

LONGEST_ACCOUNT = 200


@contextmanager
def told_as_lane_errors() -> Iterator[None]:
    """Raises OutageError instead, with the type of the error and where it was raised, without its text."""
    try:
        yield
    except CrmSyncError:
        raise
    except Exception as error:  # noqa: BLE001 (a plug-in client can fail in any way)
        frames = traceback.extract_tb(error.__traceback__)
        place = f" in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
        raise OutageError(Code.CLIENT_FAILED, f"the client of this CRM failed: {type(error).__name__}{place}") from None


async def ask_account(client: Client) -> str | None:
    """The name of the client's account, at most LONGEST_ACCOUNT characters; None if the CRM does not say. Raises LaneError,
    whatever the client raises.
    """
    with told_as_lane_errors():
        account = await client.account()
        if account is not None and not isinstance(account, str):
            raise TypeError("no text")
        return printable(account or "", LONGEST_ACCOUNT) or None


async def ask_misfits(client: Client, sent: Iterable[SentField]) -> list[Misfit] | None:
    """What in the mapping can never arrive; None if the CRM does not list its fields. Raises LaneError, whatever the client
    raises.
    """
    with told_as_lane_errors():
        schema = await client.schema()
        if schema is None:
            return None
        if not isinstance(schema, RemoteSchema):
            raise TypeError("no RemoteSchema")
        return schema.misfits(sent)
