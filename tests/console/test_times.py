"""Every time of day that a page says has its zone, and a script may tell it by the reader's clock."""

import json
import re
import time

import pytest

from crm_sync.console.event_details import details
from tests.console.running import visiting
from tests.console.test_pages import text_of
from tests.steps import insert
from tests.table.test_failed_contacts import fails

OF_DAY = re.compile(r"\d\d:\d\d(?::\d\d)?(?:\.\d+)?(?! UTC|:?\d)")
EVENT = """
    INSERT INTO crm_sync.events (at, event, crm, actor, via, details)
    VALUES (now() - interval '2 days', 'lane_held', 'brevo', 'ada', 'command', $1)
"""
ALERTS = """
    INSERT INTO crm_sync.alerts
        (id, condition, crm, since, first_seen_at, seen_at, raised_at, contacts, reason, well_since, ended_at)
    SELECT n, c, 'brevo', now() - interval '1 hour', now(), now(), now(), 1, 'CRM_ERROR: 503', over_at, over_at
    FROM (VALUES (1, 'LANE_DOWN', NULL::timestamptz), (2, 'ERRORS', now())) AS a (n, c, over_at)
"""
MINUTES = """
    INSERT INTO crm_sync.minutes (minute, crm, worker, delivered, requests, latency)
    SELECT date_trunc('minute', now()) - make_interval(mins => m), 'brevo', 1, 5, 1, array_fill(1, ARRAY[19])
    FROM generate_series(0, 30) AS m
"""


@pytest.fixture
def far_away(monkeypatch):
    """A console whose machine is in another time zone."""
    with monkeypatch.context() as there:
        there.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


async def fill(app):
    """Times wherever a page or a sentence has one. The keys of two contacts."""
    failed, waiting = await fails(app, error="REJECTED: no"), await insert(app, "Queued", "b@example.com")
    await app.execute("SET session_replication_role = replica")
    await app.execute(
        "UPDATE contacts SET brevo_due_at = now() + interval '3 h', brevo_attempts = 2, "
        "brevo_flipped_at = now() - interval '1 h', brevo_synced_at = now() - interval '9 h' WHERE id = $1",
        waiting,
    )
    await app.execute("RESET session_replication_role")
    await app.execute("UPDATE crm_sync.lanes SET held_since = now(), held_reason = 'a new key' WHERE crm = 'mautic'")
    await app.execute(
        "UPDATE crm_sync.lanes SET breaker = 'open', openings = 2, breaker_since = now() - interval '7 min', "
        "breaker_reason = 'CRM_ERROR: 503', next_probe_at = now() + interval '30 s' WHERE crm = 'hubspot'"
    )
    await app.execute(EVENT, json.dumps({"was": "since 2026-11-29T21:01:41.250102+00:00", "until": "2026-11-29T23:01:41+02:00"}))
    await app.execute(ALERTS)
    await app.execute(MINUTES)
    return failed, waiting


@pytest.mark.usefixtures("far_away")
async def test_no_page_says_a_time_without_its_zone(app, url):
    failed, waiting = await fill(app)
    async with visiting(url) as visit:
        await visit.sign_in()
        await visit.post("crms/mautic", {"act": "pause", "reason": "another"})  # whose notice has a time
        for path in (
            *("crms/mautic", "", "crms/brevo", "crms/hubspot", "contacts?crm=brevo", "failures", "events"),
            *(f"contacts/{failed}", f"contacts/{waiting}"),
        ):
            status, page = await visit.get(path)
            said = text_of(page)
            titles = " ".join(re.findall(r'title="([^"]*)"', page))
            assert status == 200
            assert [said[max(0, m.start() - 40) : m.end() + 10] for m in OF_DAY.finditer(f"{said} {titles}")] == [], path


@pytest.mark.usefixtures("far_away")
async def test_nor_does_the_api(app, url):
    _, waiting = await fill(app)
    async with visiting(url) as visit:
        _, _, said = await visit.call("GET", f"/contacts/{waiting}")
        sentences = [at["sentence"] for at in said["crms"]] + [fact["text"] for at in said["crms"] for fact in at["proof"]]
        _, _, said = await visit.call("GET", "/crms")
        sentences += [crm["sentence"] for crm in said["crms"]]
    assert [one for one in sentences if OF_DAY.search(one)] == []
    assert any(" UTC" in one for one in sentences)


async def test_a_time_is_marked_up_so_that_a_script_can_tell_it(app, signed_in):
    await fill(app)
    _, page = await signed_in.get("events")
    found = re.findall(r'<time class="moment" datetime="([^"]+)">([^<]+)</time>', page)
    assert found
    for machine, people in found:
        assert machine.replace("T", " ").replace("+00:00", " UTC") == people


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("2026-11-29T21:01:41.250102+00:00", "2026-11-29 21:01:41 UTC"),
        ("since 2026-11-29T23:01:41+02:00, and on", "since 2026-11-29 21:01:41 UTC, and on"),
        ("2026-11-29T21:01:41Z", "2026-11-29 21:01:41 UTC"),
        ("2026-02-30T21:01:41Z", "2026-02-30T21:01:41Z"),
        ("2026-13-29T21:01:41Z", "2026-13-29T21:01:41Z"),
        ("0000-01-01T00:00:00Z", "0000-01-01T00:00:00Z"),
        ("9999-12-31T23:59:59-14:00", "9999-12-31T23:59:59-14:00"),
        ("order 2026-11-29", "order 2026-11-29"),
    ],
)
def test_a_time_in_the_details_of_an_event_is_told_as_all_others(written, told):
    assert details({"reason": written}) == told


@pytest.mark.parametrize("day", [f"2026-12-{day:02}" for day in range(1, 32)])
def test_on_every_day_of_a_month_a_time_in_the_details_of_an_event_is_told_as_on_the_page(day):
    assert details({"since": f"{day}T02:34:56.493456+00:00"}) == f"since {day} 02:34:56 UTC"
