"""The trace context that an application sets with a flip: the traceparent header of W3C Trace Context."""

import re
from typing import NamedTuple

COLUMN = "crm_sync_traceparent"  # in the contacts table, if tracing is on

# Later versions may append more after the flags. [W3C Trace Context, 3.2]
_FORM = re.compile(r"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


class Traceparent(NamedTuple):
    trace_id: int
    span_id: int
    flags: int

    @property
    def trace(self) -> str:
        """The trace id in the form used in logs."""
        return f"{self.trace_id:032x}"


def parse(text: str | None) -> Traceparent | None:
    """None if it is not a valid traceparent."""
    match = _FORM.fullmatch(text) if text else None
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    found = Traceparent(int(trace_id, 16), int(span_id, 16), int(flags, 16))
    return None if (version == "00" and more) or not found.trace_id or not found.span_id else found


def trace_of(text: str | None) -> str | None:
    """The trace id in it; None if it is not a valid traceparent."""
    found = parse(text)
    return None if found is None else found.trace
