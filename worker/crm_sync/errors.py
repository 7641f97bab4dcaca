"""All errors of crm-sync. Errors of each library are translated in one place.

CrmSyncError
├── ConfigurationError      a person must change something: exit 78
│   └── StatementRefusedError  an object in a statement does not exist, or the role may not use it
│       └── ForbiddenError  the role lacks a right
├── DeclinedError           a person's request is not carried out now
├── DatabaseTroubleError    the worker waits: unreachable, restarting, standby, locks
│   ├── RowRefusedError     the data of one row made a statement fail
│   └── TooSlowError        the server cancelled and rolled back a statement that took too long
├── UnreadableError         the driver has no object for a value that the database sent
├── ChannelError            an alert could not be sent to a channel
├── UnsendableError         a value that no CRM, or not this one, accepts
└── LaneError               a delivery that says nothing about its contacts
    ├── BatchRefusedError   one of the contacts is the reason why all were refused
    ├── HeldBackError       by our own choice: the lane is pausing or stopping
    ├── NotSentError        nothing reached the CRM: DNS, TLS, refused
    ├── OutageError         the CRM may have applied it: timeout, reset, 5xx, a broken answer
    ├── RefusedError        the CRM refuses every contact: key, permission, address
    │   └── StatusRefusedError  refused by status alone: every contact, or only these
    └── ThrottledError      too many requests
"""

from crm_sync.core.codes import Code
from crm_sync.core.operation import Operation


class CrmSyncError(Exception):
    """Root of all errors raised on purpose."""


class ConfigurationError(CrmSyncError):
    """Something that only a person can fix. The message names it and says what to do, without its value."""


class StatementRefusedError(ConfigurationError):
    """The server refuses one of our statements: an object in it does not exist, or the role may not use it. The cause is the
    driver's error.
    """


class ForbiddenError(StatementRefusedError):
    """The role lacks a right that a statement needs."""


class DeclinedError(CrmSyncError):
    """A person's request is not carried out now. The message says why."""


class DatabaseTroubleError(CrmSyncError):
    """The database cannot be used now. Workers wait for it. of_a_row: what failed is what the table does with one of the rows, so
    a statement without that row may work.
    """

    of_a_row = False


class RowRefusedError(DatabaseTroubleError):
    """A statement failed because of the data in one of its rows: a constraint, a trigger, an expression."""

    of_a_row = True


class _GivenUpError(DatabaseTroubleError):
    """The server rolled a statement back. of_a_row: in a function or trigger."""

    def __init__(self, message: str, *, of_a_row: bool = False) -> None:
        super().__init__(message)
        self.of_a_row = of_a_row


class TooSlowError(_GivenUpError):
    """The server cancelled a statement and rolled it back: it took too long, or an administrator cancelled it."""


class LockedError(_GivenUpError):
    """A statement gave up, and was rolled back, because another session has locked what it needs."""


class UnreadableError(CrmSyncError):
    """The driver has no object for a value that the database sent. What the statement has written is written."""


class ChannelError(CrmSyncError):
    """An alert could not be sent. The message says why, without keys."""


class UnsendableError(CrmSyncError):
    """No CRM, or not this one, accepts such a value. The message says why, without the value."""


class LaneError(CrmSyncError):
    """A delivery failed for a reason that is not one of its contacts.

    code: stable and upper-case. reason: plain words, without keys and personal data.
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason


class BatchRefusedError(LaneError):
    """The CRM refused contacts together because of some of them, without saying which. retried: the reason may be transient."""

    def __init__(self, code: str, reason: str, *, retried: bool = False) -> None:
        super().__init__(code, reason)
        self.retried = retried


class HeldBackError(LaneError):
    """The request was not started, by our own choice. pause_s: seconds until one may be."""

    def __init__(self, reason: str, pause_s: float = 0.0) -> None:
        super().__init__(Code.HELD_BACK, reason)
        self.pause_s = pause_s


class NotSentError(LaneError):
    """The request never reached the CRM."""


class OutageError(LaneError):
    """The CRM failed, or did not answer. It may have applied the request; sending it again is harmless."""


class RefusedError(LaneError):
    """The CRM refuses every contact."""


class StatusRefusedError(RefusedError):
    """Refused by status, without the CRM's own error format: a page from a firewall, a proxy or something else. Or in the CRM's
    words, where they do not say whether everybody is refused.

    That can concern every contact, or the content of one. The lane finds out from the answers to others, so code and reason are
    those for all contacts. said: the answer, for the contact to blame; blamed: the whole reason for that one, by default that
    something in front of the CRM refuses it. operation: the kind of request; None if the client does not know: then all
    deliveries count as one kind.
    """

    def __init__(
        self, code: str, reason: str, *, said: str = "", blamed: str | None = None, operation: Operation | None = None
    ) -> None:
        super().__init__(code, reason)
        self.said = said or reason
        self.blamed = blamed
        self.operation = operation


class ThrottledError(LaneError):
    """Too many requests. pause_s: seconds until the next one may start."""

    def __init__(self, code: str, reason: str, pause_s: float) -> None:
        super().__init__(code, reason)
        self.pause_s = pause_s
