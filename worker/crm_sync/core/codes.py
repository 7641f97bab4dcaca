"""Every failure by its stable code: what it means, what to do, and whether it is transient.

A code begins the text in `processing_error` (`CODE: reason`) and appears in the log; people count, search and alert by it.
"""

import re
from enum import StrEnum
from typing import Self

NO_CODE = "NO_CODE"  # for reasons that begin with no code, and contacts in Error without a reason
NO_CODE_MEANING = "it failed without a failure code"
NO_CODE_REMEDY = "see its reason; a plug-in's client should name a code"
_FORM = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,38}|[0-9]{3}")  # what count_failed_contacts.sql takes for a code

_PAGES = "https://github.com/crm-sync/crm-sync/blob/main/docs/reference/codes"


class Code(StrEnum):
    """retried: it is tried again automatically. lane: it stops the whole lane, and marks no contact."""

    meaning: str
    remedy: str
    retried: bool
    lane: bool

    def __new__(cls, value: str, meaning: str, remedy: str, retried: bool = False, lane: bool = False) -> Self:
        code = str.__new__(cls, value)
        code._value_ = value
        code.meaning, code.remedy, code.retried, code.lane = meaning, remedy, retried, lane
        return code

    @property
    def page(self) -> str:
        """The address of the page that explains it."""
        return f"{_PAGES}/{self.value}.md"

    # About one contact, until somebody changes something.
    INVALID_EMAIL = (
        "INVALID_EMAIL",
        "the contact has no email address, or the address is not valid; nothing was sent",
        "correct the address, and queue it again",
    )
    REJECTED = "REJECTED", "the CRM refused this contact", "correct what the CRM's message names, then queue it again"
    DUPLICATE = (
        "DUPLICATE",
        "another contact in the CRM has the same identifier",
        "merge the two in the CRM or correct one of them, and queue it again",
    )
    AMBIGUOUS = (
        "AMBIGUOUS",
        "the CRM has several contacts that match, and crm-sync does not guess which one is meant",
        "merge them in the CRM, and queue it again",
    )
    NOT_THERE = (
        "NOT_THERE",
        "the CRM does not have this contact, and the mode of this CRM is update; nothing was sent",
        "create it in the CRM, or set the mode to upsert, and queue it again; or leave it",
    )
    ALREADY_THERE = (
        "ALREADY_THERE",
        "the CRM has this contact already, and the mode of this CRM is create: it was left as it is, and its id is in the row",
        "nothing; to change the record, set the mode to upsert, and queue it again",
    )
    FIELD_NOT_SENT = (
        "FIELD_NOT_SENT",
        "delivered without the named field: its value belongs to another contact or is not valid, or the CRM keeps its own",
        "correct it, and queue the contact again, or leave it",
    )
    MAPPING_FAILED = (
        "MAPPING_FAILED",
        "the mapping cannot be computed for this contact; nothing was sent",
        "correct the value that the named expression reads, or the expression, and queue it again",
    )
    ROW_REFUSED = (
        "ROW_REFUSED",
        "the contacts table refused the update: a constraint, a trigger, or a column that is too short",
        "look at the named constraint or at Postgres's log, change it or the contact, and queue it again",
    )
    TRIGGER_LOOP = (
        "TRIGGER_LOOP",
        "a trigger of the contacts table flips the contact whenever a worker writes it, so it is sent again, less and less often",
        "change the named trigger as the reason says; then the contact is Complete with its next delivery",
        True,
    )
    WORKER_DIED = (
        "WORKER_DIED",
        "the worker died each time it had this contact in flight",
        "look at its log around those times, then queue it again",
    )

    CANNOT_DELETE = (
        "CANNOT_DELETE",
        "contacts are to be deleted at this CRM, but its client cannot delete",
        "delete the record there by hand, and run `crm-sync on-delete CRM keep`",
    )

    # About one contact, and transient.
    LOCKED = "LOCKED", "the CRM is changing this contact itself", "nothing; in Error once the retries are used up", True
    TOO_EARLY = "TOO_EARLY", "the CRM is still working on this contact", "nothing; in Error once the retries are used up", True
    NOT_ACCOUNTED = (
        "NOT_ACCOUNTED",
        "the CRM answered with success, but not for this contact",
        "wait; once the retries are used up it is in Error: then ask the CRM's support",
        True,
    )
    WORKFLOW_FAILED = (
        "WORKFLOW_FAILED",
        "the n8n workflow ended with an error",
        "look at its executions in n8n, correct it, and queue what is in Error again",
        True,
    )

    CLIENT_FAILED = (
        "CLIENT_FAILED",
        "the client of this CRM failed with this contact: a bug in the plug-in, or in crm-sync",
        "see the log for its traceback, and report it; in Error once the retries are used up",
        True,
    )

    # About one contact while the CRM serves others, otherwise about the lane.
    CRM_ERROR = "CRM_ERROR", "the CRM failed (5xx)", "nothing, unless it lasts; then see the CRM's status page", True
    TIMEOUT = "TIMEOUT", "the CRM did not answer in time; it may have applied the request", "nothing, unless it lasts", True
    BROKEN_ANSWER = (
        "BROKEN_ANSWER",
        "the connection broke or the answer made no sense; the CRM may have applied the request",
        "nothing; if it lasts, check what sits between crm-sync and the CRM",
        True,
    )

    # About the lane.
    UNREACHABLE = "UNREACHABLE", "no connection to the CRM", "check its base URL, DNS, TLS, the proxy and the network", True, True
    RATE_LIMITED = "RATE_LIMITED", "too many requests", "nothing; the lane goes on when the CRM's pause is over", True, True
    HELD_BACK = "HELD_BACK", "the lane is pausing or stopping", "nothing", True, True
    REFUSED = (
        "REFUSED",
        "the CRM refuses everybody: the key, its rights, or the account",
        "correct the credentials; crm-sync retries by itself, at least every minute",
        True,
        True,
    )
    IP_REFUSED = (
        "IP_REFUSED",
        "the key is right, but the CRM does not accept this machine's address",
        "add the address to the CRM's list of authorised IP addresses, or turn that list off",
        True,
        True,
    )
    API_DISABLED = (
        "API_DISABLED",
        "the CRM's API, or this way of logging in, is turned off",
        "turn it on in the CRM's configuration",
        True,
        True,
    )
    ANOTHER_ACCOUNT = (
        "ANOTHER_ACCOUNT",
        "the key belongs to another account than the CRM's ids in the rows; nothing was sent",
        "put the former key back, or forget the ids and then send the contacts to the new account",
        True,
        True,
    )
    UNKNOWN_FIELD = (
        "UNKNOWN_FIELD",
        "the mapping names a field that the CRM does not have",
        "create it in the CRM, or correct the mapping",
        True,
        True,
    )
    FIELD_MISFIT = (
        "FIELD_MISFIT",
        "a field of the CRM does not accept what the mapping sends; nothing was sent",
        "correct the mapping, or the field in the CRM; `crm-sync check` names all of them",
        True,
        True,
    )
    FIELD_REQUIRED = (
        "FIELD_REQUIRED",
        "the CRM requires, for every new contact, a field that the mapping does not send",
        "add it to the mapping, or make it optional in the CRM",
        True,
        True,
    )
    NOT_FOUND = "NOT_FOUND", "the answer does not come from the CRM's API", "check the base URL", True, True
    REDIRECTED = "REDIRECTED", "the CRM answered with a redirect, which is not followed", "check the base URL", True, True
    NOT_READY = "NOT_READY", "the CRM is starting up, or being moved", "nothing, unless it lasts", True, True
    INACTIVE = "INACTIVE", "n8n has no active workflow at this URL", "publish the workflow, or check N8N_WEBHOOK_URL", True, True
    MISCONFIGURED = (
        "MISCONFIGURED",
        "the CRM refuses every request for a reason that only a person can fix",
        "do what its message says; crm-sync retries by itself, at least every minute",
        True,
        True,
    )
    INTERNAL = "INTERNAL", "an unexpected error of crm-sync", "see the log for its traceback, and report it", True, True


# About contacts that are delivered anyway.
OF_DELIVERED = frozenset({Code.FIELD_NOT_SENT, Code.ALREADY_THERE})


def is_code(text: str | None) -> bool:
    """Whether it can begin a reason, so that it is counted as a code everywhere."""
    return text is not None and _FORM.fullmatch(text) is not None


def code_in(error: str) -> str:
    """The code of `CODE: reason`, or NO_CODE if it does not begin with one."""
    code, separator, _ = error.partition(":")
    return code if code in Code.__members__ or (separator and is_code(code)) else NO_CODE


def known_code(text: str) -> Code | None:
    """None for a code that another program wrote."""
    return next((code for code in Code if code.value == text), None)
