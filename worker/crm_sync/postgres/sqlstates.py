"""What an error of the server means, by its SQLSTATE: one table for both drivers.

Each driver puts it in words of ours: `crm_sync.postgres.pool` for asyncpg, `crm_sync.adoption.migrations` for psycopg.
"""

from enum import Enum, auto


class Fault(Enum):
    """Whose it is."""

    PASSES = auto()  # restarts, limits, locks, standbys, passwords: it is waited for
    POOLER = auto()  # a transaction pooler stands between
    PERSON = auto()  # only a person can put it right
    ROW = auto()  # the data of a row
    UNEXPECTED = auto()  # a worker tries again, for a plan gone stale or a standby passes; a change of definitions is refused


# The longest that a state begins with counts.
_FAULTS = {
    "08": Fault.PASSES,  # the connection
    "28": Fault.PASSES,  # a password: it may be being changed
    "40": Fault.PASSES,  # serialization, deadlock
    "53": Fault.PASSES,  # resources: disk, memory, connections
    "55": Fault.PASSES,  # a lock, or somebody else's use
    "57": Fault.PASSES,  # shutdown, start, cancel
    "58": Fault.PASSES,  # input and output
    # What a transaction pooler makes of prepared statements: gone, or there already.
    "26000": Fault.POOLER,
    "42P05": Fault.POOLER,
    "3D": Fault.PERSON,  # no such database
    "3F": Fault.PERSON,  # no such schema
    "42": Fault.PERSON,  # undefined or forbidden
    "21": Fault.ROW,  # several where one was to be
    "22": Fault.ROW,  # data
    "23": Fault.ROW,  # constraints
    "38": Fault.ROW,  # what a function of the application says
    "39": Fault.ROW,
    "44": Fault.ROW,  # views
    "54": Fault.ROW,  # sizes
    "P0": Fault.ROW,  # what a trigger says
}
_LONGEST = max(map(len, _FAULTS))

_PROTOCOL = "08P01"
_SETTING = "startup parameter"  # a pooler refuses the settings of a session so

QUOTES_NO_VALUES = "54"  # of the classes of a row, the one whose messages do not quote it


def fault_of(state: str | None, message: str) -> Fault:
    """state: None if the server gave none."""
    if state == _PROTOCOL and _SETTING in message:
        return Fault.POOLER
    found = (_FAULTS.get((state or "")[:length]) for length in range(_LONGEST, 0, -1))
    return next((fault for fault in found if fault is not None), Fault.UNEXPECTED)
