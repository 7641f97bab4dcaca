"""All errors of crm-sync, foreign ones translated in one place each.

CrmSyncError
├── ConfigurationError      a person must change something: exit 78
│   └── StatementRefusedError  what a statement names is not there, or the role may not use it
│       └── ForbiddenError  the role lacks a right
├── DeclinedError           a person asked for what is not done now
├── DatabaseTroubleError    waited for: unreachable, restarting, standby, locks
│   ├── RowRefusedError     the data of one row is why a statement failed
│   └── TooSlowError        the server cancelled a statement, which took too long, and undid it
├── ChannelError            an alert could not be handed to a channel
├── UnsendableError         a value that no CRM takes, or not this one
└── LaneError               a delivery that says nothing about its contacts
    ├── BatchRefusedError   one of the contacts is why all were refused
    ├── HeldBackError       by our own choice: the lane is pausing or stopping
    ├── NotSentError        nothing reached the CRM: DNS, TLS, refused
    ├── OutageError         the CRM may have applied it: timeout, reset, 5xx, a broken answer
    ├── RefusedError        the CRM refuses everybody: key, permission, address
    │   └── StatusRefusedError  refused by status alone: everybody, or these contacts only
    └── ThrottledError      too many requests
"""

from crm_sync.core.codes import Code
from crm_sync.core.operation import Operation


class CrmSyncError(Exception):
    """Root of all errors raised on purpose."""


class ConfigurationError(CrmSyncError):
    """Something only a person can put right. The message names it and says what to do, without its value."""


class StatementRefusedError(ConfigurationError):
    """The server refuses a statement of ours: what it names is not there, or forbidden to the role. Its cause is the driver's."""


class ForbiddenError(StatementRefusedError):
    """The role lacks a right for what a statement does."""


class DeclinedError(CrmSyncError):
    """What a person asked for is not done now. The message says why."""


class DatabaseTroubleError(CrmSyncError):
    """The database cannot be used now. It is waited for."""


class RowRefusedError(DatabaseTroubleError):
    """A statement failed for the data of one of its rows: a constraint, a trigger, an expression."""


class TooSlowError(DatabaseTroubleError):
    """The server cancelled a statement, and undid it: it took longer than it may, or an administrator wanted it so."""


class LockedError(DatabaseTroubleError):
    """A statement gave up, and was undone, for somebody else has locked what it needs."""


class ChannelError(CrmSyncError):
    """Somebody could not be told of an alert. The message says why, without keys."""


class UnsendableError(CrmSyncError):
    """No CRM, or not this one, takes such a value. The message says why, without the value."""


class LaneError(CrmSyncError):
    """A delivery failed for a reason that is not one of its contacts.

    code: stable and upper-case; reason: plain words, free of keys and personal data.
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason


class BatchRefusedError(LaneError):
    """The CRM refused contacts together because of some of them, without saying which. retried: the reason may pass."""

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
    """The CRM failed, or did not answer. It may have applied the request: sending again is harmless."""


class RefusedError(LaneError):
    """The CRM refuses everybody, whatever the contact."""


class StatusRefusedError(RefusedError):
    """Refused by status, in words that are not the CRM's own: a page of a firewall, of a proxy, of something else.

    That can be meant for everybody, or for what one contact says. The lane finds out by what others are answered, so code and
    reason are those of everybody. said: the answer, for the one that is to blame. operation: the kind of request; None if the
    client does not know: then any delivery counts as the same.
    """

    def __init__(self, code: str, reason: str, *, said: str = "", operation: Operation | None = None) -> None:
        super().__init__(code, reason)
        self.said = said or reason
        self.operation = operation


class ThrottledError(LaneError):
    """Too many requests. pause_s: seconds until the next one may start."""

    def __init__(self, code: str, reason: str, pause_s: float) -> None:
        super().__init__(code, reason)
        self.pause_s = pause_s
