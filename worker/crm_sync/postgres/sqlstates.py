"""What a server error means, by its SQLSTATE: one table for both drivers.

The translation to our errors is in `crm_sync.postgres.pool` for asyncpg, and in `crm_sync.adoption.migrations` for psycopg.
"""

import re
from enum import Enum, auto


class Fault(Enum):
    """What is at fault."""

    PASSES = auto()  # restarts, limits, locks, standbys, passwords: workers wait for these
    POOLER = auto()  # there is a transaction pooler in between
    PERSON = auto()  # only a person can fix it
    ROW = auto()  # the data of a row
    UNEXPECTED = auto()  # a worker tries again, because a stale plan or a standby is transient; a migration gives up


# The longest matching prefix counts.
_FAULTS = {
    "08": Fault.PASSES,  # connection
    "28": Fault.PASSES,  # authentication: the password may be about to change
    "40": Fault.PASSES,  # serialization, deadlock
    "53": Fault.PASSES,  # resources: disk, memory, connections
    "55": Fault.PASSES,  # a lock, or an object in use
    "57": Fault.PASSES,  # shutdown, start, cancel
    "58": Fault.PASSES,  # input and output
    # What a transaction pooler does to prepared statements: they are missing, or exist already.
    "26000": Fault.POOLER,
    "42P05": Fault.POOLER,
    "3D": Fault.PERSON,  # database does not exist
    "3F": Fault.PERSON,  # schema does not exist
    "42": Fault.PERSON,  # undefined or forbidden
    "21": Fault.ROW,  # several rows where one was expected
    "22": Fault.ROW,  # data
    "23": Fault.ROW,  # constraints
    "27": Fault.ROW,  # a trigger has changed the row that is being written
    "38": Fault.ROW,  # an error in a function of the application
    "39": Fault.ROW,
    "44": Fault.ROW,  # views
    "54": Fault.ROW,  # sizes
    "P0": Fault.ROW,  # raised by a trigger
}
_LONGEST = max(map(len, _FAULTS))

# The server's function that reported the error says more than the SQLSTATE, and is the same in every language.
_RAISES = "exec_stmt_raise"  # RAISE in PL/pgSQL, which may carry any SQLSTATE: a lock's, a right's, a connection's
_FAULTS_BY_SOURCE = {
    _RAISES: Fault.ROW,
    "ExecWithCheckOptions": Fault.ROW,  # a policy or view does not allow what was written to one row
    # Before transaction ids wrap around, no statement may write. The SQLSTATE is that of a value that is too large.
    "GetNewTransactionId": Fault.PASSES,
    "GetNewMultiXactId": Fault.PASSES,
}

_PROTOCOL = "08P01"
_SETTING = "startup parameter"  # a pooler refuses session settings with these words

QUOTES_NO_VALUES = "54"  # of the classes about a row, the one whose messages do not quote values


_FUNCTION = re.compile(r"PL/pgSQL function ((?:\w+\.)?\w+)\(")  # of a context, innermost first, in English


def foreign_function(context: str | None) -> str | None:
    """The function at fault if it is the application's, such as one of an event trigger. The names are enough: the statements in
    a context may quote values.
    """
    found = _FUNCTION.search(context or "")
    return found[1] if found and not found[1].startswith("crm_sync.") else None


def is_raised(source: str | None) -> bool:
    """Whether a function or trigger refused it in its own words, and with an SQLSTATE of its choice."""
    return source == _RAISES


def fault_of(state: str | None, message: str, source: str | None = None) -> Fault:
    """state: None if the server gave none. source: the server's function that reported it, if known."""
    if source in _FAULTS_BY_SOURCE:
        return _FAULTS_BY_SOURCE[source]
    if state == _PROTOCOL and _SETTING in message:
        return Fault.POOLER
    found = (_FAULTS.get((state or "")[:length]) for length in range(_LONGEST, 0, -1))
    return next((fault for fault in found if fault is not None), Fault.UNEXPECTED)
