"""What an application says of the trace that a flip belongs to: the header traceparent, as W3C Trace Context has it."""

import re
from typing import NamedTuple

COLUMN = "crm_sync_traceparent"  # of the contacts table, where traces are on

# Later versions may say more after the flags. [W3C Trace Context, 3.2]
_FORM = re.compile(r"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


class Traceparent(NamedTuple):
    trace_id: int
    span_id: int
    flags: int

    @property
    def trace(self) -> str:
        """The trace id, as people and logs write it."""
        return f"{self.trace_id:032x}"


def parse(text: str | None) -> Traceparent | None:
    """None for what is no traceparent."""
    match = _FORM.fullmatch(text) if text else None
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    found = Traceparent(int(trace_id, 16), int(span_id, 16), int(flags, 16))
    return None if (version == "00" and more) or not found.trace_id or not found.span_id else found


def trace_of(text: str | None) -> str | None:
    """The trace id in it; None for what is no traceparent."""
    found = parse(text)
    return None if found is None else found.trace
