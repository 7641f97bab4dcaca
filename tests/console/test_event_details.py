"""The details of an event are words, not the names and values of a log."""

import datetime

import pytest

from crm_sync import events
from crm_sync.api.lane_models import Event
from crm_sync.console.event_details import told
from crm_sync.telling import deeds

SINCE = "2026-11-29T21:01:41.250102+00:00"

NEW = "brevo has contacts with REJECTED, a code not seen in the past week"
OLD = "brevo has a contact that has been ready for a long time"


def event(name, details, crm="brevo"):
    at = datetime.datetime.now(datetime.UTC)
    return Event(id="1", at=at, event=name, crm=crm, actor="worker 1", via="worker", role="crm_worker", words="", details=details)


@pytest.mark.parametrize(
    ("name", "details", "words"),
    [
        (
            events.ALERT_RAISED,
            {"alert": "LANE_DOWN", "since": SINCE, "count": 12, "reason": "UNREACHABLE: no answer"},
            "brevo is down, so its contacts wait: 12 contacts in line, since 2026-11-29 21:01:41 UTC. UNREACHABLE: no answer",
        ),
        (
            events.ALERT_RAISED,
            {"alert": "NEW_CODE", "code": "REJECTED", "since": SINCE, "count": 1, "times": 2, "reason": "REJECTED: refused"},
            f"{NEW}: 1 failure with this code, since 2026-11-29 21:01:41 UTC. REJECTED: refused",
        ),
        (
            events.ALERT_OVER,
            {"alert": "OLDEST_WAITING", "lasted_s": 300, "count": 10_001},
            f"{OLD}: this lasted 5 min; at the worst, more than 10,000 contacts in line",
        ),
        (
            events.ALERT_OVER,
            {"alert": "NEW_CODE", "code": "REJECTED", "lasted_s": 60, "count": 3},
            f"{NEW}: this lasted 1 min; at the worst, 3 failures with this code",
        ),
        (
            events.ALERT_NOT_TOLD,
            {"channel": "webhook", "reason": "404 from the receiver", "note": "try it with: crm-sync alerts test"},
            "channel webhook; 404 from the receiver; try it with: crm-sync alerts test",
        ),
        (events.BREAKER_CLOSED, {"was": "TIMEOUT: no answer", "down_s": 420}, "it was TIMEOUT: no answer; down 7 min"),
        (events.CONTACTS_OVERWRITTEN, {"contacts": 1, "times": 2}, "1 contact; 2 times"),
        (
            deeds.CONTACTS_CHANGED,
            {"contacts": 1_200, "status": "Queued", "where": {"state": "New", "code": "DUPLICATE"}},
            "1,200 contacts; status Queued; where (state New, code DUPLICATE)",
        ),
        (deeds.TABLE_ADOPTED, {}, ""),
    ],
)
def test_they_are_told(name, details, words):
    assert told(event(name, details)) == words


@pytest.mark.parametrize(
    "details",
    [
        {"alert": "OF_A_LATER_VERSION", "since": SINCE, "count": 1, "reason": "no reason"},
        {"alert": "LANE_DOWN"},
        {"alert": "LANE_DOWN", "since": SINCE, "count": "many", "reason": "no reason"},
        {"alert": ["LANE_DOWN"]},
    ],
)
@pytest.mark.parametrize("name", [events.ALERT_RAISED, events.ALERT_OVER])
def test_an_alert_of_another_version_is_told_by_the_names_of_its_details(name, details):
    assert told(event(name, details)).startswith("alert ")
