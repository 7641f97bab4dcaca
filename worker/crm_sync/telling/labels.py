"""The values of every label. There are no others: an unknown value is counted under a known one.

A label with values from outside would create ever more series, and one day overload the server that stores them.
"""

from crm_sync.core.codes import NO_CODE, Code, code_in
from crm_sync.core.outcome import Kind
from crm_sync.measurements import Cause, Operation

OTHER = "other"

OUTCOMES = (Kind.DELIVERED, Kind.RETRY, Kind.REJECTED, Kind.DEFERRED)
OPERATIONS = tuple(Operation)
CAUSES = tuple(Cause)
CODES = (*Code, NO_CODE, OTHER)  # a plug-in client can have its own codes

# The result of a request: the class of the answer's status, or why there was none.
STATUSES = ("2xx", "3xx", "4xx", "401", "429", "5xx", "timeout", "unreachable", "broken", OTHER)
_OF_THEIR_OWN = {401: "401", 429: "429"}
_WITHOUT_ANSWER = {Code.TIMEOUT: "timeout", Code.UNREACHABLE: "unreachable", Code.BROKEN_ANSWER: "broken"}

# Statements that a worker runs often; all others together are OTHER.
STATEMENTS = (
    *("claim_contacts", "finish_contacts", "find_next_due", "drop_stale_lines"),
    *("claim_tombstones", "finish_tombstones"),
    *("read_budget", "write_budget", "read_breaker", "change_breaker"),
    *("find_dead_workers", "line_up_strays", "inspect_stretch", OTHER),
)

# Loops of the worker; those of a lane are named without their CRM.
LOOPS = (
    *("session", "lane", "writer", "breaker", "tombstones", "full_look", "proof", "delivery"),
    *("minutes", "events", "tidying", "snapshot", "progress", "alerts", "reload", "metrics", OTHER),
)

CONTACT_STATES = ("new", "selected", "skipped", "ready", "waiting", "in_flight", "complete", "error")
LANE_STATES = ("delivering", "paused", "faulty", "throttled", "probing", "down")
TOMBSTONE_STATES = ("waiting", "failed")

_UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def code_of(error: str) -> str:
    """The code that an error begins with: `CODE: reason`."""
    return known(code_in(error), CODES)


def status_of(status: int, code: str | None) -> str:
    """status: 0 if there was no answer, for the reason in code; with a code, the answer was incomplete."""
    if code is not None:
        return _WITHOUT_ANSWER.get(code, OTHER)  # type: ignore[call-overload,no-any-return]  # a Code is the text that it is
    return _OF_THEIR_OWN.get(status) or known(f"{status // 100}xx", STATUSES)


def loop_of(name: str, crms: frozenset[str]) -> str:
    """The loop `brevo full look` is full_look."""
    first, _, rest = name.partition(" ")
    return known((rest if first in crms else name).replace(" ", "_"), LOOPS)


def window_of(seconds: float) -> str:
    """1s, 10s, 1h, 1d: as many as the account has limits."""
    for size, unit in _UNITS:
        if seconds >= size and seconds % size == 0:
            return f"{seconds // size:.0f}{unit}"
    return f"{seconds:g}s"


def known(value: str, values: tuple[str, ...]) -> str:
    return value if value in values else OTHER
