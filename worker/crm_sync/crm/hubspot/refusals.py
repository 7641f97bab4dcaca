"""How HubSpot's errors are interpreted: whom they are about, and what to do.

Errors are read leniently, because every member may be missing [HubSpot, error handling].
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from crm_sync.core.codes import Code
from crm_sync.core.outcome import Outcome
from crm_sync.core.text import printable
from crm_sync.crm.answer import (
    DEFAULT_PAUSE_S,
    LONGEST_PAUSE_S,
    Answer,
    foreign,
    is_foreign,
    page_words,
    quoted,
    retry_after_s,
    usable,
)
from crm_sync.errors import BatchRefusedError, LaneError, OutageError, RefusedError, ThrottledError

# By the policy that was violated. The day ends at midnight in the account's time zone, which the error does not say, so it is
# tried again every hour.
PAUSES_S = {"SECONDLY": 1.0, "TEN_SECONDLY_ROLLING": DEFAULT_PAUSE_S, "DAILY": LONGEST_PAUSE_S}
# What is wrong with a contact. Any other category is a problem of HubSpot's own, and may be transient.
REFUSALS = ("VALIDATION_ERROR", "CONFLICT", "OBJECT_ALREADY_EXISTS")
LONGEST_NAME = 100
CHECK = "check HUBSPOT_BASE_URL and HUBSPOT_CONTACTS_PATH"

# At most 18 digits: HubSpot refuses the whole request if an id does not fit into 64 bits.
_ID = re.compile(r"[1-9][0-9]{0,17}")
_SCOPE = re.compile(r"[A-Za-z0-9._-]{1,80}")
_NOT_VALID = "Property values were not valid: "
_OTHER = re.compile(r"Existing ID: ([0-9]+)|([0-9]+) already has that value")
_PROPERTY = re.compile(r"propertyName=([A-Za-z0-9_]+)")
# From 2026-09 on, about what the account requires of new contacts. A property that is required only if another one has a certain
# value has a different code, and is blamed on the contact. [HubSpot, changelog "CRM API write validation enforcement", with these
# words]
REQUIRED = "MISSING_REQUIRED_PROPERTY"
_REQUIREMENTS = (REQUIRED, "MISSING_CONDITIONAL_REQUIRED_PROPERTY")
_MISSING = re.compile(r"A value for ([A-Za-z0-9_]+) must be provided")
_REQUIRED_HELP = "send it, or make it optional in HubSpot (Settings, Objects, Contacts, Create Record)"

Error = Mapping[str, Any]


def judged(answer: Answer, body: object = None) -> Answer:
    """The answer to this body, if it is about the contact. Raises as usable does."""
    if answer.status == 429:
        raise _throttled(answer, body)
    if answer.status == 477:
        pause_s = retry_after_s(answer.headers, "Retry-After")
        raise ThrottledError(Code.NOT_READY, f"HubSpot is moving the account to another data centre ({answer.label})", pause_s)
    if lacks_scope(answer):
        needed = ", ".join(_scopes(answer))
        raise RefusedError(Code.REFUSED, f"the token lacks a scope: give it {needed} in HubSpot ({answer.label})")
    # The status alone says that a record is locked, whatever the message.
    if answer.status != 423 and is_foreign(answer, own=_is_own(answer)):
        raise foreign(answer, body, whose="HubSpot's", check=CHECK)
    return usable(answer, body, check=CHECK, keys="check HUBSPOT_ACCESS_TOKEN")


def lacks_scope(answer: Answer) -> bool:
    return answer.status == 403 and bool(_scopes(answer))


def batch_refused(answer: Answer, body: object, mapped: Collection[str] = ()) -> LaneError:
    """Why no contact of a batch was accepted. mapped: the properties in the mapping."""
    if answer.status < 400:
        said = f"{answer.label}: {page_words(answer, body)}"
        return OutageError(Code.BROKEN_ANSWER, f"HubSpot's answer lacks what it documents for this status ({said})")
    said = f"{answer.label}: {quoted(answer, body)}"
    if answer.status == 423:
        return BatchRefusedError(Code.LOCKED, f"HubSpot has locked these contacts for a moment ({said})", retried=True)
    error = answer.json if isinstance(answer.json, dict) else {}
    if answer.status in (404, 405, 406, 415):
        return not_hubspot(answer)
    if fault := mapping_fault([error], answer.label, mapped):
        return fault
    if answer.status == 409 or _conflict(error):
        return BatchRefusedError(Code.DUPLICATE, f"another contact in HubSpot has the same email or unique value ({said})")
    if missing := ", ".join(_properties([error], *_REQUIREMENTS)):
        said = f"it requires {missing}; {said}"
    return BatchRefusedError(Code.REJECTED, f"HubSpot refused the contact ({said})")


def not_hubspot(answer: Answer) -> RefusedError:
    # Without the message: it can quote a contact.
    return RefusedError(Code.NOT_FOUND, f"what answered {answer.status} is not HubSpot's API: {CHECK}")


def mapping_fault(errors: Sequence[Error], label: str, mapped: Collection[str] = ()) -> RefusedError | None:
    """For all contacts it concerns: a fault that only a change of the mapping, or of HubSpot's properties, can fix.

    mapped: the properties in the mapping. If it has a required one, the contact's value is missing.
    """
    if any("by non-unique" in _text(error, "message") for error in errors):
        reason = f"HUBSPOT_MATCH names a property whose values are not unique in HubSpot ({label}): match by another"
        return RefusedError(Code.MISCONFIGURED, reason)
    unknown = ", ".join(_properties(errors, "PROPERTY_DOESNT_EXIST"))
    if unknown:
        return RefusedError(Code.UNKNOWN_FIELD, f"HubSpot has no property {unknown} ({label}): create it, or correct the mapping")
    fixed = ", ".join(_properties(errors, "READ_ONLY_VALUE"))
    if fixed:
        return RefusedError(Code.MISCONFIGURED, f"HubSpot's property {fixed} is read-only ({label}): remove it from the mapping")
    required = ", ".join(name for name in _properties(errors, REQUIRED) if name not in mapped)
    if required:
        reason = (
            f"HubSpot requires {required} for every new contact, and the mapping does not send it ({label}): {_REQUIRED_HELP}"
        )
        return RefusedError(Code.FIELD_REQUIRED, reason)
    return None


def refusal(error: Error, label: str, by: str, sent: Collection[str]) -> Outcome:
    """The outcome of the contact that an error is about. by: the property that it was matched by. sent: those in its input."""
    if conflict := _conflict(error):
        name, other = conflict
        return _duplicate(name or ("email" if "email" in sent else by), other, label, by)
    problems = list(_problems(error))
    said = "; ".join(problem.told for problem in problems if problem.message) or _text(error, "message") or "no text"
    if _category(error) and _category(error) not in REFUSALS:
        return Outcome.failed(Code.CRM_ERROR, f"HubSpot failed on this contact ({label}: {said})")
    return Outcome.rejected(Code.REJECTED, f"HubSpot refused the contact ({label}: {said})")


def conflict_of(error: Error, match: str) -> str | None:
    """Whether a contact was not created because one with its address, or its value of the property match, exists: the id of that
    one, or an empty text. None if not.
    """
    conflict = _conflict(error)
    return conflict[1] if conflict and conflict[0] in ("", "email", match) else None


def is_missing(answer: Answer) -> bool:
    """Whether a whole batch was refused because of missing records, which HubSpot is not known to do."""
    return answer.status in (400, 404) and isinstance(answer.json, dict) and is_not_found(answer.json)


def is_not_found(error: Error) -> bool:
    """Whether it is about records that were deleted or never existed."""
    return _category(error) == "OBJECT_NOT_FOUND"


def context(error: Error, name: str) -> list[str]:
    """The texts in a member of its context, which is a list, or should be."""
    members = error.get("context")
    values = members.get(name) if isinstance(members, dict) else None
    return [value for value in (values if isinstance(values, list) else [values]) if isinstance(value, str)]


def is_id(value: str) -> bool:
    """Whether it can be HubSpot's id of a record."""
    return _ID.fullmatch(value) is not None


class _Problem(NamedTuple):
    """What is wrong with the value of one property."""

    code: str
    name: str
    message: str

    @property
    def told(self) -> str:
        """With the property, which its message need not name: the value that it quotes is masked."""
        name = printable(self.name, LONGEST_NAME)
        return f"{name}: {self.message}" if name and f'"{name}"' not in self.message else self.message


def _problems(error: Error) -> Iterator[_Problem]:
    """From separate members if the error has them, else from the JSON in its message."""
    details = _list(error.get("errors"))
    if not details:
        _, found, text = _text(error, "message").partition(_NOT_VALID)
        details = _list(_json(text)) if found else []
    # Captured errors of a 207 have no details.
    for detail in details or [error]:
        if isinstance(detail, dict):
            name = next(iter(context(detail, "propertyName")), _text(detail, "name"))
            code, message = _text(detail, "code") or _text(detail, "error"), _text(detail, "message")
            if not code and (missing := _MISSING.search(message)):
                code, name = REQUIRED, missing[1]
            if details or code:
                yield _Problem(code, name, message)


def _properties(errors: Sequence[Error], *codes: str) -> list[str]:
    """The properties with one of these problems."""
    names = {problem.name for error in errors for problem in _problems(error) if problem.code in codes}
    return sorted(printable(name, LONGEST_NAME) or "without a name" for name in names)


def _conflict(error: Error) -> tuple[str, str] | None:
    """The property whose value another record has, and the id of that record; empty texts where HubSpot does not say."""
    message = _text(error, "message")
    other = _OTHER.search(message)
    if other is None and _category(error) not in ("CONFLICT", "OBJECT_ALREADY_EXISTS"):
        return None
    name = _PROPERTY.search(message)
    ids = [*context(error, "existingId"), *(other.groups("") if other else ())]
    return name[1] if name else "", next(filter(is_id, ids), "")


def _duplicate(name: str, other: str, label: str, by: str) -> Outcome:
    if name == by:
        # It did not exist when HubSpot checked, but did when HubSpot wrote. The next upsert finds it.
        return Outcome.failed(Code.TOO_EARLY, f"HubSpot was making contact {other or 'unknown'} at the same moment ({label})")
    who = f"another contact in HubSpot, {other}," if other else "another contact in HubSpot"
    return Outcome.rejected(Code.DUPLICATE, f"{who} has the same {name} ({label})")


def _throttled(answer: Answer, body: object) -> ThrottledError:
    """HubSpot documents no Retry-After here, but a proxy in between can send one."""
    policy = _text(answer.json, "policyName") if isinstance(answer.json, dict) else ""
    pause_s = PAUSES_S.get(policy, DEFAULT_PAUSE_S)
    if "Retry-After" in answer.headers:
        pause_s = retry_after_s(answer.headers, "Retry-After")
    what = "the account's requests for the day are used up" if policy == "DAILY" else "too many requests"
    return ThrottledError(Code.RATE_LIMITED, f"{what} ({answer.label}: {quoted(answer, body)})", pause_s)


def _scopes(answer: Answer) -> list[str]:
    """Any one of them is enough."""
    errors = [answer.json, *_list(answer.get("errors"))]
    names = [name for error in errors if isinstance(error, dict) for name in context(error, "requiredGranularScopes")]
    return [name for name in dict.fromkeys(names) if _SCOPE.fullmatch(name)]


def _is_own(answer: Answer) -> bool:
    """Whether an error has HubSpot's format. Any single member may be missing, but not all that are specific to HubSpot."""
    error = answer.json if isinstance(answer.json, dict) else {}
    return error.get("status") == "error" or any(_text(error, name) for name in ("category", "errorType", "correlationId"))


def _category(error: Error) -> str:
    return _text(error, "category")


def _text(members: Mapping[str, Any], name: str) -> str:
    value = members.get(name)
    return value if isinstance(value, str) else ""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
