"""The configurations of the model that are checked: some in which it must hold, and some in which a fault must be found.

The second kind removes one rule from the protocol, or demands more than it promises. If no fault is found there, the model cannot
see such faults, or the rule is not needed.
"""

from dataclasses import dataclass

STRANDED = "a contact is stranded"
LOST = "a flip is lost"
STALE = "an older state lands last"
TWICE = "a contact is in two requests"
USURPED = "a claim is ended by a worker that lost it"
STUCK = "a process is stuck"
# By what the violated assertion mentions, the most specific first.
FAULTS = {
    "hand_no[": USURPED,
    "requests[": TWICE,
    "newest[": LOST,
    "at_crm[": STALE,
    "claim_by[": STRANDED,
    "invalid end state": STUCK,
}


@dataclass(frozen=True, slots=True)
class Configuration:
    """switches: of bell.pml. fault: the one that must be found; None: there must be none. large: needs minutes and gigabytes."""

    name: str
    switches: str = ""
    fault: str | None = None
    large: bool = False


IN_TURN = "APPLICATIONS=1 FLIPS=2"
LOST_SESSION = "APPLICATIONS=1 TICK=1 LOSSES=1"
DEAD_WORKER = "APPLICATIONS=1 TICK=1 DEATH=1"
BOTH = "APPLICATIONS=1 TICK=1 LOSSES=1 DEATH=1"
ONE_ADDRESS = "APPLICATIONS=1 FLIPS=2 ROWS=2 ONE_ADDRESS=1"
CUT_ADDRESS = f"{ONE_ADDRESS} LOSSES=1 BELL=0"

CONFIGURATIONS = (
    Configuration("two workers, two flips at once"),
    Configuration("two workers, two flips in turn", IN_TURN),
    Configuration("one worker, flips and withdrawals", "WORKERS=1 FLIPS=2 WITHDRAWALS=1"),
    Configuration("a session is cut, no tick", "APPLICATIONS=1 LOSSES=1"),
    Configuration("a worker is killed", DEAD_WORKER),
    Configuration("lines: a flip adds none, and the full look finds the contact", f"{IN_TURN} TICK=1 BROKEN_NO_LINE_OF_A_FLIP"),
    Configuration("lines: nor does a finish", f"{IN_TURN} TICK=1 BROKEN_NO_LINE_OF_A_FINISH"),
    Configuration("lines: nor does a recovery", f"{DEAD_WORKER} BROKEN_NO_LINE_OF_A_FINISH"),
    Configuration("large: two workers, two contacts", "ROWS=2", large=True),
    Configuration("large: two workers, four flips in turn", "APPLICATIONS=1 FLIPS=4", large=True),
    Configuration("large: one worker, three flips at once", "WORKERS=1 APPLICATIONS=3 ROWS=2", large=True),
    Configuration("large: a session is cut", LOST_SESSION, large=True),
    Configuration("large: two flips, a session is cut", f"{LOST_SESSION} FLIPS=2", large=True),
    Configuration("large: a session is cut twice, no tick", "APPLICATIONS=1 LOSSES=2", large=True),
    Configuration("large: a session is cut and a worker is killed", BOTH, large=True),
    Configuration("large: two contacts of one address", ONE_ADDRESS, large=True),
    Configuration("one address, a session is cut, no bell, no tick", CUT_ADDRESS),
    Configuration("large: one address, a session is cut, no bell", f"{CUT_ADDRESS} TICK=1", large=True),
    Configuration("large: one address, a session is cut twice, no bell, no tick", f"{ONE_ADDRESS} LOSSES=2 BELL=0", large=True),
    Configuration("large: one address, a worker is killed, no bell", f"{ONE_ADDRESS} TICK=1 DEATH=1 BELL=0", large=True),
    # Each without one of our rules.
    Configuration("no look after arming", "BROKEN_NO_LOOK", STRANDED),
    Configuration("the bell is armed in spite of a flip", "BROKEN_ARMS_ALWAYS", STRANDED),
    Configuration("a refused flip does not ring", "BROKEN_SILENT_FLIP", STRANDED),
    Configuration("the event is cleared before the sleep", "BROKEN_LATE_CLEAR", STRANDED),
    Configuration("a finish that lines up again does not ask", "BROKEN_SILENT_FINISH", STRANDED),
    Configuration("a finish does not see the flip made meanwhile", "BROKEN_FLIP_FORGOTTEN", LOST),
    Configuration("what is claimed is claimed", "BROKEN_CLAIMED_AGAIN", TWICE),
    Configuration("nobody looks for orphans", f"{DEAD_WORKER} BROKEN_NO_RECOVERY", STRANDED),
    Configuration("a dead worker, no tick", "APPLICATIONS=1 DEATH=1", STRANDED),
    Configuration("a finish without its fence", f"{LOST_SESSION} BROKEN_NO_FENCE", USURPED),
    Configuration("what is fenced out is forgotten", f"{LOST_SESSION} FLIPS=2 BELL=0 BROKEN_STALE_FORGOTTEN", STALE),
    Configuration("one address: what is fenced out is forgotten", f"{CUT_ADDRESS} BROKEN_STALE_FORGOTTEN", STALE),
    Configuration("one address: no lock on it", f"{ONE_ADDRESS} BROKEN_NO_ADDRESS_LOCK", TWICE),
    Configuration("one address: who is alone is not asked", f"{ONE_ADDRESS} BELL=0 BROKEN_NO_COMPANY", TWICE),
    Configuration("one address: who was alone locks nothing", f"{ONE_ADDRESS} BROKEN_NO_GUARD", TWICE),
    Configuration("one address: what is sent again is newer", f"{CUT_ADDRESS} BROKEN_NEWER_AGAIN", STALE),
    Configuration("lines: a flip adds none", f"{IN_TURN} BROKEN_NO_LINE_OF_A_FLIP", STRANDED),
    Configuration("lines: a finish adds none", f"{IN_TURN} BROKEN_NO_LINE_OF_A_FINISH", STRANDED),
    Configuration("lines: that of a locked row is dropped", f"{IN_TURN} BROKEN_LINE_OF_A_LOCKED_ROW", STRANDED),
    # Each without one rule of Postgres that ours depend on.
    Configuration("advisory locks end before a commit is visible", "BROKEN_LOCKS_END_FIRST", STRANDED),
    Configuration("a locked row is not looked at again", "BROKEN_NO_SECOND_LOOK", TWICE),
    # More than is promised: the request of a killed worker arrives last, and no worker is left that knows about it.
    Configuration("order after a death", f"{DEAD_WORKER} FLIPS=2 BELL=0 ORDER_AFTER_DEATH", STALE),
)
