"""How Mautic's answers are interpreted.

PHP writes a list with gaps as an object, so lists here may be `[...]` or `{"0": ..., "2": ...}`, with the indexes of the request.
The result of a contact is only in `statusCodes`: a batch of failures is a 201 too, and a failed edit can have its record in
`contacts`. [mautic/mautic: CommonApiController, at 4.4.13 and 5.1.1]
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from crm_sync.core.codes import Code
from crm_sync.core.documents import plain_text
from crm_sync.core.identity import fold
from crm_sync.core.outcome import Outcome
from crm_sync.crm.answer import (
    LONGEST_PAUSE_S,
    SHORTEST_PAUSE_S,
    Answer,
    crm_time,
    foreign,
    is_foreign,
    number,
    page_words,
    quoted,
    usable,
)
from crm_sync.crm.emptied import still_there
from crm_sync.crm.mautic.matching import New, parts, record_id
from crm_sync.crm.mautic.storage import dropped, not_blanked, not_stored
from crm_sync.errors import OutageError, RefusedError, StatusRefusedError, ThrottledError

CHECK = "check MAUTIC_BASE_URL, the address of Mautic without /api"
_KEYS = "check MAUTIC_USERNAME and MAUTIC_PASSWORD, or MAUTIC_CLIENT_ID and MAUTIC_CLIENT_SECRET"


def written(answer: Answer, bodies: Sequence[Mapping[str, Any]], identities: Sequence[str]) -> list[Outcome | New | RefusedError]:
    """The result of each of these items: its outcome, New if the record to be edited is gone, or a refusal that concerns all.

    identities: of each item's contact. Raises OutageError if the answer mentions no item.
    """
    codes = answer.get("statusCodes")
    if not isinstance(codes, list | dict):
        said = page_words(plain(answer), bodies)
        raise OutageError(Code.BROKEN_ANSWER, f"Mautic answered {answer.label} but nothing about the contacts: {said}")
    items = [_Item(answer, index) for index in range(len(bodies))]
    # An item is denied if the user may edit no contact at all, or not this one because of its owner. If this answer does not
    # tell, those to others do.
    if any(item.code != 403 for item in items):
        answer.confirm()
    may_edit = any(item.code == 200 for item in items)
    said = f"403 in an answer of {answer.label}"
    denied = StatusRefusedError(
        Code.REFUSED,
        f"the user of the API may not edit contacts ({said}): see its role in Mautic",
        blamed=_denied_alone(said),
        operation=answer.operation,
    )
    return [
        denied if item.code == 403 and not may_edit else item.outcome(identity, body)
        for item, body, identity in zip(items, bodies, identities, strict=True)
    ]


def _denied_alone(said: str) -> str:
    return f"the user of the API may edit other contacts, but not this one ({said}): see its owner, and the role, in Mautic"


class _Item:
    """What an answer says about one item of a batch."""

    def __init__(self, answer: Answer, index: int) -> None:
        error = _member(answer.get("errors"), index)
        contact = _member(answer.get("contacts"), index)
        self._label = answer.label
        self._error: Mapping[str, Any] = error if isinstance(error, dict) else {}
        self._contact: Mapping[str, Any] = contact if isinstance(contact, dict) else {}
        self.code = _status(_member(answer.get("statusCodes"), index)) or _status(self._error.get("code"))

    def outcome(self, identity: str, body: Mapping[str, Any]) -> Outcome | New:
        """body: what was sent, with an id if it was an edit."""
        code = self.code
        said = f"{code} in an answer of {self._label}: {self._message()}"
        if code is None or code < 400:
            return self._success(identity, body)
        if code == 404 and "id" in body:
            return New()
        if code == 403:
            return Outcome.rejected(Code.REJECTED, _denied_alone(said))
        if code == 422:
            fields = self._error.get("details")
            names = ", ".join(map(str, fields)) if isinstance(fields, dict) and fields else "identifier"
            return Outcome.rejected(Code.DUPLICATE, f"another contact in Mautic has the same {names} ({said})")
        if code >= 500:
            return Outcome.failed(Code.CRM_ERROR, f"Mautic failed with this contact ({said})")
        return Outcome.rejected(Code.REJECTED, f"Mautic refused the contact ({said})")

    def _success(self, identity: str, body: Mapping[str, Any]) -> Outcome:
        record = record_id(self._contact.get("id"))
        known_by = parts(identity)
        shown = email(self._contact) if known_by is None else value_of(self._contact, known_by[0]) or None
        if self.code is None or record is None or (known_by is None and shown not in (identity, None)):
            return Outcome.failed(Code.NOT_ACCOUNTED, f"Mautic answered {self._label} but nothing about this contact")
        if known_by is not None and shown not in (known_by[1], None):
            words = f"with another {known_by[0]}: if this goes on, send {known_by[0]} in the form in which Mautic stores it"
            return Outcome.failed(Code.NOT_ACCOUNTED, f"Mautic answered {self._label}, {words}")
        missed = not_stored(body, self._contact)
        left = dropped(body, self._contact)
        outcome = Outcome.delivered(str(record), Code.FIELD_NOT_SENT if missed else None, missed, left)
        return still_there(outcome, "Mautic", not_blanked(body, self._contact))

    def _message(self) -> str:
        message = self._error.get("message")
        return message if isinstance(message, str) and message else "no text"


def records(answer: Answer, looked_for: object = None) -> list[Mapping[str, Any]]:
    """The contacts in the answer to this search: a list, or an object by id.

    Raises OutageError if it is not such an answer.
    """
    contacts = answer.get("contacts")
    members = list(contacts.values()) if isinstance(contacts, dict) else contacts
    if not isinstance(members, list) or not all(isinstance(one, dict) and record_id(one.get("id")) for one in members):
        said = page_words(answer, looked_for)
        raise OutageError(Code.BROKEN_ANSWER, f"Mautic answered {answer.label} to a search without saying what it found: {said}")
    answer.confirm()
    return members


def email(record: Mapping[str, Any]) -> str | None:
    """The folded address of a record; None if it is not in the answer.

    `{"fields": {"all": {"email": "..."}, "core": {"email": {"value": "..."}}}}`: flat, and in the group that the field is in.
    """
    groups = record.get("fields")
    fields = [group.get("email") for group in groups.values() if isinstance(group, dict)] if isinstance(groups, dict) else []
    values = [field.get("value") if isinstance(field, dict) else field for field in fields]
    return next((fold(value) for value in values if isinstance(value, str)), None)


def value_of(record: Mapping[str, Any], field: str) -> str:
    """A record's value of a field, in the form in which values are compared; empty if it is not in the answer."""
    groups = record.get("fields")
    members = [group[field] for group in groups.values() if field in group] if isinstance(groups, dict) else []
    values = [member.get("value") if isinstance(member, dict) else member for member in members]
    return next((plain_text(value).lower() for value in values if value is not None), "")


def is_gone(answer: Answer) -> bool:
    """For the deletion of one record: Mautic returns it once more without its id; for a missing one it says so."""
    if answer.status == 404:
        # In Mautic's own format, because anything other than Mautic can answer 404. The message depends on the language.
        return bool(plain(answer).get("code") == 404)
    contact = answer.get("contact")
    return answer.status == 200 and isinstance(contact, dict) and contact.get("id") is None


def judged(answer: Answer, body: object = None) -> Answer:
    """The answer to this body, if it is about its content. Raises LaneError as usable does, in Mautic's terms."""
    told = plain(answer)
    if (answer.status < 300 and _is_page(answer)) or is_foreign(answer, own=is_own(answer)):
        raise foreign(answer, body, whose="Mautic's", check=CHECK)
    said = told.said("message").lower()
    if answer.status == 403 and (told.get("type") == "api_disabled" or "disabled" in said):
        raise RefusedError(
            Code.API_DISABLED, f"Mautic does not allow this way of logging in ({answer.label}: {quoted(told, body)})"
        )
    if answer.status == 401:
        raise RefusedError(
            Code.REFUSED,
            f"Mautic refuses the credentials ({answer.label}: {quoted(told, body)}): {_KEYS}. If they are right, the web server "
            f"in front of Mautic may strip the Authorization header, as some hosts do",
        )
    if answer.status in (404, 405):
        # Without the message: it can quote the contact.
        raise RefusedError(
            Code.NOT_FOUND,
            f"what answered {answer.status} is not Mautic's API: {CHECK}",
        )
    if answer.status == 429 and (pause_s := _until_reset_s(answer)) is not None:
        raise ThrottledError(Code.RATE_LIMITED, f"too many requests ({answer.label}: {quoted(told, body)})", pause_s)
    usable(told, body, check=CHECK)
    return answer


def plain(answer: Answer) -> Answer:
    """An error in the form of other CRMs: Mautic puts it into a list of one."""
    errors = answer.get("errors")
    first = errors[0] if isinstance(errors, list) and errors else None
    return replace(answer, json=first) if isinstance(first, dict) else answer


def is_own(answer: Answer) -> bool:
    """Whether an error has Mautic's format: `{"errors": [{"code": 403, "message": "...", "type": "..."}]}`."""
    error = plain(answer).json if answer.get("errors") else None
    return isinstance(error, dict) and ("code" in error or "type" in error)


def _is_page(answer: Answer) -> bool:
    return answer.text[:100].lstrip("\ufeff \t\r\n").lower().startswith(("<!doctype", "<html"))


def _until_reset_s(answer: Answer) -> float | None:
    """Seconds until the hour of Mautic's limit ends. The answer gives it as seconds since 1970, and has no Retry-After."""
    pause_s = number(answer.headers.get("X-RateLimit-Reset")) - crm_time(answer.headers)
    if "Retry-After" in answer.headers or not 0 < pause_s < math.inf:
        return None
    return min(max(pause_s, SHORTEST_PAUSE_S), LONGEST_PAUSE_S)


def _member(container: object, index: int) -> Any:
    if isinstance(container, dict):
        return container.get(str(index))
    return container[index] if isinstance(container, list) and index < len(container) else None


def _status(value: object) -> int | None:
    code = number(value)
    return int(code) if 100 <= code < 600 else None
