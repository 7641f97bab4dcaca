"""What counts as a traceparent, by W3C Trace Context: https://www.w3.org/TR/trace-context/#traceparent-header."""

import pytest

from crm_sync.core.traceparent import parse, trace_of

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_one_has_a_trace_a_span_and_flags():
    found = parse(f"00-{TRACE}-{SPAN}-01")
    assert found == (int(TRACE, 16), int(SPAN, 16), 1)
    assert found.trace == TRACE
    assert trace_of(f"00-{TRACE}-{SPAN}-00") == TRACE


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "null",
        TRACE,
        f"00-{TRACE}-{SPAN}",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01\n",
        f" 00-{TRACE}-{SPAN}-01",
        "ada@example.com",
    ],
)
def test_anything_else_is_none(text):
    assert parse(text) is None
    assert trace_of(text) is None


def test_one_of_a_later_version_may_say_more():
    assert trace_of(f"01-{TRACE}-{SPAN}-01-more") == TRACE
