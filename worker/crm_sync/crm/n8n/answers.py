"""How n8n's answers are interpreted. The texts are those of n8n 2.41, observed and read in its sources.

A 2xx is a workflow's own answer, which can look like anything: what n8n accepted counts as delivered, unless the answer says
otherwise. That also holds if the answer is too large, truncated, or not JSON. Errors of n8n are distinguished from those of a
proxy in front of it by their text, because a proxy uses the same statuses.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from crm_sync.core.codes import Code
from crm_sync.core.outcome import Contact, Outcome
from crm_sync.core.text import clean
from crm_sync.crm.answer import LONGEST_SAID, PASSING, Answer, foreign, page_words, quoted, usable
from crm_sync.crm.client import Entry
from crm_sync.errors import BatchRefusedError, LaneError, OutageError, RefusedError, StatusRefusedError

LONGEST_ID = 255
# N8N_PAYLOAD_SIZE_MAX is 16 by default, in MiB: with a smaller body, something else refused it.
SMALLEST_LIMIT_BYTES = 1024 * 1024

STARTING = "n8n is starting up"
NO_RUN = "Webhook call received"
FAILED = "Error in workflow"
NOTHING_RETURNED = ("No item to return was found", "No item was found to return")
NOT_EXECUTED = "There was a problem executing the workflow"
NO_CREDENTIAL = "No authentication data defined on node!"
NOT_CONFIGURED = ("Workflow could not be started!", "Respond to Webhook node found in the workflow")
WRONG_ADDRESS = "IP is not allowed to access the webhook!"

CHECK = "check N8N_WEBHOOK_URL"
_CHECK_HEADER = "check N8N_HEADER_NAME and N8N_HEADER_VALUE, and that the webhook's option Ignore Bots is off"
_CHECK_USER = "check N8N_USERNAME and N8N_PASSWORD"
_CHECK_JWT = "check N8N_JWT_SECRET, that the credential says HS256, and both clocks"
HINTS = {
    "Authorization data is wrong!": _CHECK_HEADER,  # both have the same text
    "Authorization is required!": _CHECK_USER,
    "Authentication data is wrong!": _CHECK_USER,
    "No token provided": _CHECK_JWT,
    "invalid token": _CHECK_JWT,
    "invalid signature": _CHECK_JWT,
    "invalid algorithm": _CHECK_JWT,
    "jwt expired": _CHECK_JWT,
}
OTHER_HINT = "what the webhook asks for, that its option Ignore Bots is off"


def judged(answer: Answer, contacts: Sequence[Contact], keys: Sequence[str], body: object, size: int) -> Sequence[Entry]:
    """An entry for each contact. keys: their idempotency keys. body: what was sent, in this many bytes. Raises LaneError."""
    match answer.status:
        case status if 200 <= status < 300:
            return _accepted(answer, contacts, keys, body)
        case 401 | 403:
            raise _refused(answer, body)
        case 404:
            raise unknown_webhook(answer, body)
        case 504 | 524:
            raise OutageError(Code.TIMEOUT, f"what is in front of n8n gave up waiting ({answer.label}); the run may go on")
        case status if status >= 500:
            return _failed(answer, len(contacts), body, size)
    if (
        answer.status >= 400
        and answer.status not in PASSING
        and (answer.status == 407 or not (isinstance(answer.json, dict) or answer.flaw))
    ):
        # Neither n8n nor a workflow answers like this.
        raise foreign(answer, body, whose="n8n's", check=CHECK)
    usable(answer, body, check=CHECK)
    return _all(len(contacts), Code.REJECTED, f"n8n or the workflow refused it ({answer.label}: {_words(answer, body)})")


def not_ready(answer: Answer) -> OutageError:
    return OutageError(Code.NOT_READY, f"n8n is starting, or waits for its database ({answer.label})")


def unknown_webhook(answer: Answer, body: object = None) -> LaneError:
    """For a 404 to this body. The path is left out: if a webhook asks for no credentials, the path is the secret."""
    message, hint = _text(answer.get("message")), _text(answer.get("hint"))
    if "not registered for" in message:
        return RefusedError(Code.INACTIVE, f"the webhook expects another method ({answer.label}: {clean(message)})")
    if "is not registered" in message:
        said = clean(hint.partition(". ")[0])
        return RefusedError(Code.INACTIVE, f"n8n knows no active workflow at N8N_WEBHOOK_URL ({answer.label}: {said})")
    if answer.json is None:
        # During the first seconds of n8n's start, its web server runs without webhooks.
        said = f"{answer.label}, not JSON: {page_words(answer, body)}"
        reason = f"n8n is starting, or N8N_WEBHOOK_URL is not a webhook of n8n ({said})"
        return StatusRefusedError(Code.NOT_READY, reason, said=said, operation=answer.operation)
    return foreign(answer, body, whose="n8n's", check=CHECK)


# 2xx.


def _accepted(answer: Answer, contacts: Sequence[Contact], keys: Sequence[str], body: object) -> Sequence[Entry]:
    text = answer.text.lstrip()
    if text.startswith(STARTING):
        raise not_ready(answer)  # n8n sends it with 200 while its database is migrated
    if answer.json is None and text.startswith("<"):
        said = f"{answer.label}: {page_words(answer, body)}"
        raise OutageError(Code.BROKEN_ANSWER, f"n8n answered with a page instead of a workflow's answer ({said})")
    answer.confirm()
    if answer.flaw is not None:
        # The workflow ran, whatever its answer. Sent again, it would run again.
        return [Outcome.delivered(None)] * len(contacts)
    said = answer.json
    if isinstance(said, dict) and said.get("message") == NO_RUN:
        return _all(len(contacts), Code.REJECTED, "n8n started no run: the webhook's option Only Run If was false for it")
    whole = next(_objects(said), {})
    run_id = _id(whole, "execution_id", "executionId")
    if (listed := _listed(said, contacts, keys)) is not None:
        return [_outcome(entry, run_id, answer) for entry in listed]
    if len(contacts) == 1:
        return [_outcome(whole, run_id, answer)]
    if _error(whole):
        return _all(len(contacts), *_refusal(whole, _words(answer, body)))
    return [Outcome.delivered(run_id)] * len(contacts)


def _objects(said: object) -> Iterator[Mapping[str, Any]]:
    """The answer if it is an object; otherwise the objects in it."""
    yield from (member for member in (said if isinstance(said, list) else [said]) if isinstance(member, dict))


def _listed(said: object, contacts: Sequence[Contact], keys: Sequence[str]) -> list[Mapping[str, Any] | None] | None:
    """The entry of each contact, if the answer has entries. An array without any of our keys is the workflow's own data."""
    explicit = said.get("contacts") if isinstance(said, dict) else None
    if not isinstance(said, list) and not isinstance(explicit, list):
        return None
    found: dict[str, Mapping[str, Any]] = {}
    for entry in _objects(explicit if isinstance(explicit, list) else said):
        for name in ("idempotency_key", "contact_id"):
            mark = f"{name} {entry.get(name)}"
            # Several nodes may have reported on a contact: a failure takes precedence.
            if mark not in found or not _error(found[mark]):
                found[mark] = entry
    ours = [
        found.get(f"idempotency_key {key}") or found.get(f"contact_id {contact.id}")
        for contact, key in zip(contacts, keys, strict=True)
    ]
    return ours if isinstance(explicit, list) or said == [] or any(ours) else None


def _outcome(entry: Mapping[str, Any] | None, run_id: str | None, answer: Answer) -> Outcome:
    """entry: the report on the contact, None if there was none."""
    if entry is None:
        return Outcome.failed(Code.NOT_ACCOUNTED, f"the workflow's answer ({answer.label}) does not list the contact")
    if error := _error(entry):
        code, reason, retried = _refusal(entry, error)
        return Outcome.failed(code, reason) if retried else Outcome.rejected(code, reason)
    return Outcome.delivered(_id(entry, "id", "remote_id", "execution_id", "executionId") or run_id)


def _refusal(entry: Mapping[str, Any], words: str) -> tuple[Code, str, bool]:
    """Code, reason, and whether to retry, for an entry with an error."""
    if entry.get("retry") is True:
        return Code.WORKFLOW_FAILED, f"the workflow failed, and asks for another try: {words}", True
    return Code.REJECTED, f"the workflow refused it: {words}", False


def _error(entry: Mapping[str, Any]) -> str:
    """The error in the workflow's words; empty if there is none. In n8n's own error items it is an object."""
    error = entry.get("error")
    if isinstance(error, dict):
        error = error.get("message") or error.get("description") or error
    return str(error)[:LONGEST_SAID] if error else ""


def _id(entry: Mapping[str, Any], *names: str) -> str | None:
    for name in names:
        value = entry.get(name)
        text = str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""
        if text and len(text) <= LONGEST_ID and text.isprintable():
            return text
    return None


# Errors.


def _refused(answer: Answer, body: object) -> RefusedError:
    """For a 401 or 403. JSON comes either from the workflow, as ours answers a wrong signature, or from n8n, with a code."""
    text = answer.text.strip()
    if text == WRONG_ADDRESS:
        return RefusedError(
            Code.IP_REFUSED, f"the webhook's IP(s) Allowlist does not have this machine's address ({answer.label})"
        )
    spoken = isinstance(answer.json, dict) and (answer.get("error") or answer.get("code"))
    if spoken or text in HINTS:
        hint = "" if spoken else f": {HINTS[text]}"
        return RefusedError(Code.REFUSED, f"n8n refuses everybody ({answer.label}: {_words(answer, body)}){hint}")
    return foreign(answer, body, whose="n8n's", check=f"{CHECK}, {OTHER_HINT}")


def _failed(answer: Answer, count: int, body: object, size: int) -> Sequence[Entry]:
    said = _text(answer.get("message")) or answer.text.strip()[:LONGEST_SAID]
    if said == NO_CREDENTIAL:
        raise RefusedError(
            Code.MISCONFIGURED, "the Webhook node asks for authentication, but has no credential: choose one there"
        )
    if any(words in said for words in NOT_CONFIGURED):
        raise RefusedError(Code.MISCONFIGURED, f"n8n cannot start the workflow ({answer.label}: {_words(answer, body)})")
    if said == FAILED:
        return _all(count, Code.WORKFLOW_FAILED, f"the workflow ended with an error ({answer.label}): see its executions", True)
    if said in NOTHING_RETURNED:
        reason = f"the workflow ran, but its last node returned nothing ({answer.label}): let it return an item for each contact"
        return [Outcome.failed(Code.WORKFLOW_FAILED, reason)] * count
    if said == NOT_EXECUTED:
        # A body that is too large, a cancelled run, or n8n's database: the answer does not say which.
        reason = f"n8n could not run the workflow ({answer.label}), for a body of {size} bytes"
        if count == 1 and size > SMALLEST_LIMIT_BYTES:
            return _all(count, Code.REJECTED, f"{reason}: probably over N8N_PAYLOAD_SIZE_MAX")
        return _all(count, Code.WORKFLOW_FAILED, reason, True)
    raise OutageError(Code.CRM_ERROR, f"n8n failed, or what is in front of it ({answer.label}: {_words(answer, body)})")


def _all(count: int, code: Code, reason: str, retried: bool = False) -> Sequence[Entry]:
    """The same for all: for a single contact it is an outcome; for several, the lane has to find out."""
    if count > 1:
        return [BatchRefusedError(code, reason, retried=retried)] * count
    return [Outcome.failed(code, reason) if retried else Outcome.rejected(code, reason)]


def _words(answer: Answer, body: object) -> str:
    """The message for people, without anything from this body."""
    error = _error(answer.json) if isinstance(answer.json, dict) else ""
    said = f"{error or answer.said('message')} {_text(answer.get('hint'))}".strip()
    return quoted(replace(answer, text=said, json=None), body)


def _text(value: object) -> str:
    return value[:LONGEST_SAID] if isinstance(value, str) else ""
