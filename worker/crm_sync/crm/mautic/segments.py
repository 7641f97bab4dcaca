"""The segments in a row. Mautic takes one request for each segment that contacts of a batch join, and one for each contact that
leaves a segment. [mautic/mautic: LeadBundle, routes mautic_api_segmentaddcontacts and mautic_api_segmentremovecontact]
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from crm_sync.core.codes import Code
from crm_sync.core.mode import is_written
from crm_sync.core.outcome import Contact, Outcome
from crm_sync.crm.answer import Answer, quoted
from crm_sync.crm.client import Entry
from crm_sync.crm.mautic.answers import is_own, judged, plain
from crm_sync.crm.mautic.login import Login
from crm_sync.crm.values import MAUTIC
from crm_sync.errors import LaneError

JOINED, LEFT = "segmentIds", "unlinkSegmentIds"


_Notes = dict[int, dict[str, list[str]]]  # by place in the batch and by member: what was refused, in words for people


class _Delivered(NamedTuple):
    place: int
    record: int


async def applied(login: Login, contacts: Sequence[Contact], entries: Sequence[Entry]) -> list[Entry]:
    """Returns the entries of these contacts. A contact is not delivered, and comes again, if Mautic did not say whether it has
    joined or left. What Mautic refused is FIELD_NOT_SENT.
    """
    found = [*entries]
    notes: _Notes = {}
    for segment, those in _by_segment(contacts, entries, JOINED).items():
        await _join(login, segment, those, found, notes)
    for segment, those in _by_segment(contacts, entries, LEFT).items():
        for one in those:
            await _leave(login, segment, one, found, notes)
    for place, by_member in notes.items():
        entry = found[place]
        if isinstance(entry, Outcome):
            words = dict.fromkeys(one for said in by_member.values() for one in said)
            reason = "; ".join(filter(None, [entry.reason, *words]))
            left = {name for name in contacts[place].filled if MAUTIC.member(name) in by_member}
            found[place] = entry._replace(code=entry.code or Code.FIELD_NOT_SENT, reason=reason, left=entry.left | left)
    return found


def _by_segment(contacts: Sequence[Contact], entries: Sequence[Entry], member: str) -> Mapping[int, Sequence[_Delivered]]:
    segments: dict[int, list[_Delivered]] = {}
    spelled = MAUTIC.members_among(set().union(*(contact.fields for contact in contacts)))
    names = {name for name, known in spelled.items() if known == member}
    if not names:
        return segments
    for place, (contact, entry) in enumerate(zip(contacts, entries, strict=True)):
        if not isinstance(entry, Outcome) or not is_written(entry) or not entry.remote_id:
            continue
        for name, value in contact.filled.items():
            if name in names:
                for segment in value:
                    segments.setdefault(segment, []).append(_Delivered(place, int(entry.remote_id)))
    return segments


async def _join(login: Login, segment: int, those: Sequence[_Delivered], found: list[Entry], notes: _Notes) -> None:
    body = {"ids": [one.record for one in those]}
    try:
        answer = await _sent(login, f"/api/segments/{segment}/contacts/add", body)
    except LaneError as error:
        for one in those:
            found[one.place] = error
        return
    details = answer.get("details")
    for one in those:
        said = details.get(str(one.record)) if isinstance(details, dict) else None
        if note := _refused(answer, segment) or (
            None if _is_done(said) else f"Mautic did not add the contact to segment {segment}"
        ):
            notes.setdefault(one.place, {}).setdefault(JOINED, []).append(note)


async def _leave(login: Login, segment: int, one: _Delivered, found: list[Entry], notes: _Notes) -> None:
    try:
        answer = await _sent(login, f"/api/segments/{segment}/contact/{one.record}/remove", None)
    except LaneError as error:
        found[one.place] = error
        return
    if note := _refused(answer, segment):
        notes.setdefault(one.place, {}).setdefault(LEFT, []).append(note)


async def _sent(login: Login, path: str, body: object) -> Answer:
    """An answer about the segment. Raises LaneError."""
    answer = await login.send("POST", path, body, writes=())
    if answer.status in (400, 403, 404) and is_own(answer) and plain(answer).get("code") == answer.status:
        return answer
    answer = judged(answer, body)
    answer.confirm()
    return answer


def _refused(answer: Answer, segment: int) -> str | None:
    """Why, in words for people; None where it was not refused."""
    if answer.status < 400:
        return None
    if answer.status == 404:
        return f"Mautic has no segment {segment}: create it in Mautic, or correct the row"
    check = "publish it, or let the role of the API user edit the contact and see the segment"
    return f"Mautic refused segment {segment} ({answer.label}: {quoted(plain(answer))}): {check}"


def _is_done(said: Any) -> bool:
    return not isinstance(said, dict) or said.get("success") not in (False, 0)
