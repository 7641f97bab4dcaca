"""Deletes contacts in Mautic, permanently in any case: it cannot restore them."""

from collections.abc import Sequence

from crm_sync.core.codes import Code
from crm_sync.core.outcome import Deletion, Outcome
from crm_sync.crm.answer import quoted
from crm_sync.crm.client import Entry
from crm_sync.crm.mautic.answers import is_gone, judged, plain
from crm_sync.crm.mautic.login import Login
from crm_sync.crm.mautic.lookup import CONTACTS
from crm_sync.crm.mautic.matching import record_id
from crm_sync.errors import LaneError, OutageError

BATCH = "/api/contacts/batch/delete"


async def deleted(login: Login, deletions: Sequence[Deletion]) -> list[Entry]:
    """The answer to a batch has the deleted records, and an error for each that was not deleted, with indexes that do not match
    the request if others were missing. In that case each record is looked up individually: one that is gone counts as
    deleted. [mautic/mautic: CommonApiController, deleteEntitiesAction]
    """
    ids = [record_id(deletion.remote_id) for deletion in deletions]
    wanted = list(dict.fromkeys(record for record in ids if record is not None))
    said: dict[int | None, Entry] = {None: Outcome.rejected(Code.REJECTED, "the id is not a valid id of Mautic")}
    if len(wanted) > 1:
        answer = judged(await login.send("DELETE", BATCH, query={"ids": ",".join(map(str, wanted))}))
        if answer.status == 200 and isinstance(answer.get("contacts"), list | dict) and not answer.get("errors"):
            answer.confirm()
            said.update(dict.fromkeys(wanted, Outcome.delivered(None)))
    for record in wanted:
        if record not in said:
            said[record] = await _delete(login, record)
    return [said[record] for record in ids]


async def _delete(login: Login, record: int) -> Entry:
    try:
        answer = await login.send("DELETE", f"{CONTACTS}/{record}/delete")
        if is_gone(answer):
            answer.confirm()
            return Outcome.delivered(None)
        said = f"{answer.label}: {quoted(plain(judged(answer)))}"
    except LaneError as error:
        return error
    if answer.status >= 400:
        return Outcome.rejected(Code.REJECTED, f"Mautic did not delete the contact ({said})")
    return OutageError(Code.BROKEN_ANSWER, f"Mautic answered {answer.label} but nothing about the contact")
