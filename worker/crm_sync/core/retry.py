"""From an outcome to a finish: which contacts are tried again, and when."""

from dataclasses import dataclass

from crm_sync.core.clearing import Ending
from crm_sync.core.codes import NO_CODE, Code, is_code
from crm_sync.core.left_fields import headed
from crm_sync.core.outcome import Contact, Finish, Kind, Outcome, Receipt, Unsent, Verdict
from crm_sync.core.text import clean, printable

LONGEST_DELAY_S = 24 * 3600.0
LONGEST_REMOTE_ID = 255
JITTER = 0.25  # random share of a delay, so that contacts that failed together do not come back together


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """max_retries: after the first attempt. delay_s: seconds before the first retry, doubled for each further one."""

    max_retries: int
    delay_s: float

    def delay_before_retry(self, retry: int, chance: float) -> float:
        """Seconds: delay_s * 2^(retry - 1), at most a day, give or take JITTER. retry counts from 1; chance is in [0, 1)."""
        # The exponent is bounded because 2.0 ** 1024 overflows.
        return float(min(self.delay_s * 2 ** min(retry - 1, 60), LONGEST_DELAY_S) * (1 + JITTER * (2 * chance - 1)))

    def finish(
        self, contact: Contact, outcome: Outcome, chance: float, receipt: Receipt | None = None, *, stored: bool = False
    ) -> Finish:
        """The finish of a contact that the CRM gave an answer about. stored: not delivered, but its values may be in the CRM."""
        id_, token, attempts, known_id, _, flipped_at, _, late, trace, sent = contact
        verdict, code, _, remote_id, left, theirs = outcome
        error = None if code is None and verdict is Verdict.DELIVERED else describe(contact, outcome)
        kind, delay_s, ending = Kind.REJECTED, 0.0, None
        if verdict is Verdict.DELIVERED:
            kind = Kind.DELIVERED
        elif verdict is Verdict.FAILED and attempts <= self.max_retries:
            kind, delay_s = Kind.RETRY, self.delay_before_retry(attempts, chance)
        stored_id = printable(remote_id, LONGEST_REMOTE_ID) or None if remote_id and kind is Kind.DELIVERED else None
        if sent is not None:
            is_delivered = kind is Kind.DELIVERED
            ending = sent.delivered(left, theirs, stored_id) if is_delivered else sent.unknown() if stored else sent.unsent()
        # Positional arguments, in the order of the fields: this runs for every contact, and keywords are slower.
        known = known_id is not None
        return Finish(
            id_, token, kind, error, stored_id, delay_s, True, late, attempts, flipped_at, known, trace, receipt, ending
        )

    def orphan(self, contact_id: object, token: int, attempts: int) -> Finish:
        """The finish of a contact whose worker died. With its attempts used up it is parked in Error: it may be what kills the
        workers.
        """
        if attempts <= self.max_retries:
            return Finish(contact_id, token, Kind.ORPHANED)
        error = f"{Code.WORKER_DIED}: the worker died each of the {attempts} times it had this contact in flight"
        return Finish(contact_id, token, Kind.REJECTED, error)


def deferred(contact: Contact, delay_s: float = 0.0, *, sent: bool = False, receipt: Receipt | None = None) -> Finish:
    """The finish of a contact without a verdict: back in line, due in this many seconds. sent: it may have been stored."""
    finish = Finish(contact.id, contact.token, Kind.DEFERRED, delay_s=delay_s, receipt=receipt)
    return _unsaid(finish, contact, sent=sent)


def set_aside(contact: Contact, outcome: Unsent, receipt: Receipt | None = None, *, sent: bool = False) -> Finish:
    """The finish of a contact that was not sent, or in vain. sent: as in deferred."""
    kind = Kind.DELIVERED if outcome.done else Kind.DEFERRED
    error = None if outcome.reason is None else clean(outcome.reason, hide=[contact.email])
    finish = Finish(contact.id, contact.token, kind, error, delay_s=outcome.delay_s, trace=contact.trace, receipt=receipt)
    return _unsaid(finish, contact, sent=sent)


def _unsaid(finish: Finish, contact: Contact, *, sent: bool) -> Finish:
    if not sent and finish.receipt is None:
        return finish if contact.sent is None else finish._replace(sent_fields=unsent(contact))
    return finish._replace(
        sent=sent,
        attempts=contact.attempts,
        flipped_at=contact.flipped_at,
        trace=contact.trace,
        sent_fields=unknown(contact) if sent else unsent(contact),
    )


def unsent(contact: Contact, record: str | None = None) -> Ending | None:
    """Which fields are in the CRM for a contact that was refused or never sent. record: the one that its row gets anyway."""
    return None if contact.sent is None else contact.sent.unsent(record)


def unknown(contact: Contact) -> Ending | None:
    """The same for a contact that was sent, but got no verdict."""
    return None if contact.sent is None else contact.sent.unknown()


def describe(contact: Contact, outcome: Outcome) -> str:
    """`CODE: reason`, safe to store and show: cleaned, truncated, with the contact's own values masked.

    A plug-in client may give no code or an invalid one. NO_CODE is used then, so that row, history, log and metrics count the
    same failure.
    """
    code, reason = outcome.code, outcome.reason
    if not is_code(code):
        code, reason = NO_CODE, ": ".join(filter(None, (code, reason)))
    values = [contact.email, *contact.fields.values()]
    cleaned = clean(reason or "no reason given", hide=values)
    return f"{code}: {headed(outcome.left - outcome.theirs, cleaned) if code == Code.FIELD_NOT_SENT else cleaned}"
