"""The state of a lane in a word and in a sentence."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from crm_sync.reports.lane_state import LaneState

pytestmark = pytest.mark.usefixtures("utc")

NOW = datetime(2026, 11, 24, 12, 7, 10, tzinfo=UTC)


def lane_state(crm: str = "brevo", **changes: Any) -> LaneState:
    return replace(LaneState(crm, "closed", NOW, None, None, 0, None, None, NOW), **changes)


def ago(**units: float) -> datetime:
    return NOW - timedelta(**units)


def within(**units: float) -> datetime:
    return NOW + timedelta(**units)


DOWN = {"breaker": "open", "breaker_since": ago(minutes=4), "breaker_reason": "UNREACHABLE: refused", "openings": 7}
THROTTLED = {"breaker": "throttled", "breaker_since": ago(seconds=2), "breaker_reason": "RATE_LIMITED: too many requests"}
HELD = {"held_since": ago(hours=2), "held_reason": "key rotation"}


@pytest.mark.parametrize(
    ("changes", "label", "sentence"),
    [
        ({}, "delivering", "delivering"),
        ({"fault": "no column x"}, "faulty", "a worker cannot deliver: no column x"),
        (
            {"fault": "no column x", "fault_since": ago(minutes=4)},
            "faulty",
            "a worker cannot deliver since 12:03:10 (4 min): no column x",
        ),
        (
            {**HELD, "fault": "no column x"},
            "paused",
            "paused by hand since 10:07:10 (2 h): key rotation; besides, a worker cannot deliver: no column x",
        ),
        (HELD, "paused", "paused by hand since 10:07:10 (2 h): key rotation"),
        (
            {**DOWN, "next_probe_at": within(seconds=5)},
            "down",
            "down since 12:03:10 (4 min): UNREACHABLE: refused; next probe in 5 s",
        ),
        (
            {**DOWN, "next_probe_at": ago(seconds=5)},
            "down",
            "down since 12:03:10 (4 min): UNREACHABLE: refused; next probe as soon as a contact is ready",
        ),
        (
            {**DOWN, "breaker": "half-open", "next_probe_at": within(seconds=29)},
            "probing",
            "down since 12:03:10 (4 min): UNREACHABLE: refused; being probed now",
        ),
        (
            {**THROTTLED, "next_probe_at": within(seconds=8)},
            "throttled",
            "too many requests since 12:07:08 (2 s), next call in 8 s (RATE_LIMITED: too many requests)",
        ),
        (
            {**THROTTLED, "breaker": "half-open", "next_probe_at": within(seconds=30)},
            "probing",
            "too many requests since 12:07:08 (2 s), being probed now (RATE_LIMITED: too many requests)",
        ),
        (
            {**HELD, **DOWN, "next_probe_at": within(seconds=5)},
            "paused",
            (
                "paused by hand since 10:07:10 (2 h): key rotation; besides, "
                "down since 12:03:10 (4 min): UNREACHABLE: refused; no probe until it is resumed"
            ),
        ),
    ],
)
def test_a_gate_is_told_in_a_word_and_in_a_sentence(changes, label, sentence):
    assert lane_state(**changes).label == label
    assert lane_state(**changes).sentence == sentence
