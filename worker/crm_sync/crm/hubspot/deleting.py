"""Deletes records in HubSpot.

To be archived, from where HubSpot restores them for 90 days, in one request; to be erased, one by one. Erased by id only: HubSpot
blocks an address that is erased and that nobody has, for good. [HubSpot, "Delete a contact", "Permanently delete a contact
(GDPR-compliant)"]
"""

from collections.abc import Mapping, Sequence
from typing import Any

from crm_sync.core.codes import Code
from crm_sync.core.outcome import Deletion, Outcome
from crm_sync.crm.client import Entry
from crm_sync.crm.hubspot.api import ContactsApi
from crm_sync.crm.hubspot.refusals import batch_refused, is_id, is_missing
from crm_sync.errors import BatchRefusedError, LaneError


async def delete(api: ContactsApi, deletions: Sequence[Deletion]) -> Sequence[Entry]:
    entries: dict[int, Entry] = {}
    unknown = Outcome.rejected(Code.REJECTED, "the id of the record is not a valid id of HubSpot")
    known = [place for place, one in enumerate(deletions) if is_id(one.remote_id or "")]
    entries.update((place, unknown) for place in range(len(deletions)) if place not in known)
    if archived := [place for place in known if not deletions[place].erase]:
        ids = {deletions[place].remote_id: None for place in archived}
        answer = await _delete(api, "batch/archive", {"inputs": [{"id": record} for record in ids]}, len(ids))
        entries.update(dict.fromkeys(archived, answer))
    for place in known:
        if place not in entries:
            entries[place] = await _delete(api, "gdpr-delete", {"objectId": deletions[place].remote_id}, 1)
    return [entries[place] for place in range(len(deletions))]


async def _delete(api: ContactsApi, operation: str, body: Mapping[str, Any], count: int) -> Entry:
    """Of this many records. Those that are not there are deleted already."""
    try:
        answer = await api.send(operation, body)
    except LaneError as error:
        return error
    if answer.status == 204 or (count == 1 and is_missing(answer)):
        answer.confirm()
        return Outcome.delivered(None)
    refused = batch_refused(answer, body)
    if count > 1 or not isinstance(refused, BatchRefusedError):
        return refused
    return (Outcome.failed if refused.retried else Outcome.rejected)(refused.code, refused.reason)
