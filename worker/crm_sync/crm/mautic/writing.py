"""Writes contacts to Mautic in batches: what is sent of each, and in requests of which size."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from crm_sync.core.codes import Code
from crm_sync.core.identity import with_ascii_domain
from crm_sync.core.outcome import Contact, Outcome, Verdict
from crm_sync.crm.answer import Answer, quoted
from crm_sync.crm.mautic import segments
from crm_sync.crm.mautic.answers import judged, plain, written
from crm_sync.crm.mautic.login import Login
from crm_sync.crm.mautic.matching import Edit, New, Step, record_id
from crm_sync.crm.trail import current
from crm_sync.crm.values import MAUTIC
from crm_sync.errors import BatchRefusedError, LaneError

_TOO_MANY = re.compile(r"A max of ([1-9][0-9]{0,5}) entities", re.IGNORECASE)
_ROUTES = {Edit: ("PATCH", "/api/contacts/batch/edit"), New: ("POST", "/api/contacts/batch/new")}

Planned = Step | LaneError


class Write(NamedTuple):
    """identity: as in `crm_sync.crm.mautic.matching`."""

    contact: Contact
    identity: str
    step: Edit | New


class Writer:
    """most: contacts in one request; an installation can be set to less, which its first answer shows."""

    def __init__(self, login: Login, most: int) -> None:
        self._login = login
        self._most = most

    async def write(self, stage: type[Edit | New], writes: Sequence[Write]) -> list[Planned]:
        """An entry for each: its result, or the next step."""
        entries: list[Planned] = []
        while len(entries) < len(writes):
            chunk = writes[len(entries) : len(entries) + self._most]
            bodies = [_body(one.contact, one.step) for one in chunk]
            try:
                answer = await self._send(stage, bodies, [one.contact for one in chunk])
                if answer is not None:
                    said = written(answer, bodies, [one.identity for one in chunk])
                    current().spared([one.contact for one, entry in zip(chunk, said, strict=True) if isinstance(entry, New)])
                    entries += [_sparingly(one.step, entry) for one, entry in zip(chunk, said, strict=True)]
            except BatchRefusedError as error:
                entries += [error] * len(chunk)
            except LaneError as error:
                entries += [error] * (len(writes) - len(entries))
        return entries

    async def _send(self, stage: type[Edit | New], bodies: list[dict[str, Any]], contacts: Sequence[Contact]) -> Answer | None:
        """None if these are too many for this installation; fewer are sent from then on."""
        answer = await self._login.send(*_ROUTES[stage], bodies, writes=contacts)
        if answer.status == 500 and len(bodies) > 1:
            error = plain(answer)
            too_many = _TOO_MANY.search(error.said("message"))
            if too_many and int(too_many[1]) < len(bodies):
                self._most = int(too_many[1])
                return None
            # A refusal by Mautic has details, a crash has none. The message about its limit is not understood in other languages.
            if too_many or error.get("details") == []:
                reason = f"Mautic refused them together ({answer.label}: {quoted(error, bodies)})"
                raise BatchRefusedError(Code.CRM_ERROR, reason, retried=True)
        if judged(answer, bodies).status >= 400:
            said = quoted(plain(answer), bodies)
            raise BatchRefusedError(Code.REJECTED, f"Mautic refused the request ({answer.label}: {said})")
        return answer


def _body(contact: Contact, step: Edit | New) -> dict[str, Any]:
    """Empty fields are not sent and stay unchanged there; Mautic would ignore them anyway. Fields to be emptied are null, which
    takes effect only in an edit, and only if the item says so. [mautic/mautic: LeadApiController, overwriteWithBlank]

    The domain of the address is sent in its DNS form: Mautic stores only ASCII. Without an address in the row, none is
    sent, so one that Mautic has stays there.
    """
    filled = contact.filled
    spelled = MAUTIC.members_among(filled)
    named = {spelled.get(name, name): value for name, value in filled.items()} if spelled else filled
    fields = {name: value for name, value in named.items() if name not in ("id", "email", segments.JOINED, segments.LEFT)}
    email = with_ascii_domain(contact.email or "")
    if isinstance(step, New):
        return {"email": email, **fields} if email else fields
    # With its current address, Mautic would look for others to merge it with.
    moved = {"email": email} if step.moves else {}
    cleared: dict[str, Any] = {}
    # For a record that the row does not name, its content is unknown, unless it is from the first delivery.
    if contact.emptied and record_id(contact.remote_id) in (step.record, None):
        cleared = {**dict.fromkeys(contact.emptied), "overwriteWithBlank": True}
    fields = {name: value for name, value in fields.items() if name not in step.left}
    return {"id": step.record, **moved, **fields, **cleared}


def _sparingly(step: Edit | New, entry: Planned) -> Planned:
    """What became of a step that left fields as they were."""
    if isinstance(step, Edit) and step.left and isinstance(entry, Outcome) and entry.verdict is Verdict.DELIVERED:
        return entry._replace(left=entry.left | step.left, theirs=step.theirs)
    return entry
