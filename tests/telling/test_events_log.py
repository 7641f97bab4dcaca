"""What happens to lanes and workers, and who did what, is in crm_sync.events; nothing waits for it."""

import json
import re

import pytest
import structlog

from crm_sync import events, log
from crm_sync.core.waits import Waits
from crm_sync.postgres.pool import Database
from crm_sync.telling import deeds, events_log
from crm_sync.telling.events_log import KEPT, EventsLog
from tests.harness import ScriptedCrm, running, until
from tests.manual import page
from tests.roles import WORKER, as_worker, let_in
from tests.steps import insert

QUICK = Waits(tell_events_s=0.01)


@pytest.fixture
async def database(url):
    async with Database(as_worker(url), size=1) as database:
        yield database


async def written(app):
    rows = await app.fetch("SELECT event, crm, actor, via, worker, details FROM crm_sync.events ORDER BY at")
    return [(row["event"], row["crm"], row["actor"], row["via"], row["worker"], json.loads(row["details"])) for row in rows]


def breaker(event=events.BREAKER_OPENED, crm="brevo", **details):
    return {"event": event, "crm": crm, "level": "warning", "timestamp": "now", **details}


async def test_what_is_logged_of_a_lane_is_an_event_of_the_worker(app, database):
    kept = EventsLog(database, lambda: 7, QUICK)
    kept.hear(breaker(code="REFUSED"))
    kept.hear({"event": events.CONTACT_FAILED, "crm": "brevo", "contact": "4711"})
    await kept.write()
    assert await written(app) == [("breaker_opened", "brevo", "worker 7", "worker", 7, {"code": "REFUSED"})]
    assert await app.fetchval("SELECT role FROM crm_sync.events") == WORKER


async def test_an_event_that_comes_again_and_again_is_a_row_a_minute_with_how_often(app, database):
    now = 1000.0
    kept = EventsLog(database, lambda: 7, QUICK, clock=lambda: now)
    for second in range(61):
        now = 1000.0 + second
        kept.hear(breaker(code=str(second)))
        kept.hear(breaker(crm="hubspot"))
    await kept.write()
    assert [row[-1] for row in await written(app) if row[1] == "brevo"] == [{"code": "0"}, {"code": "60", "times": 60}]


async def test_the_last_state_is_written_though_it_came_too_soon(app, database):
    kept = EventsLog(database, lambda: 7, QUICK)
    for event in (events.BREAKER_OPENED, events.BREAKER_CLOSED) * 2:
        kept.hear(breaker(event))
    await kept.write(all_of_them=True)
    assert [row[0] for row in await written(app)] == ["breaker_opened", "breaker_closed"] * 2


async def test_what_cannot_be_written_comes_again_and_is_bounded(app, url, database):
    kept = EventsLog(database, lambda: 7, QUICK)
    await app.execute(f"REVOKE INSERT ON crm_sync.events FROM {WORKER}")
    for number in range(events_log.MOST_WAITING + 5):
        kept.hear(breaker(crm=f"crm{number}"))
    with structlog.testing.capture_logs() as logged:
        await kept.write()
        await kept.write()
    assert [event["event"] for event in logged] == [events.DATABASE_TROUBLE]
    let_in(url)
    await kept.write()
    assert len(found := await written(app)) == events_log.MOST_WAITING
    assert found[0][1] == "crm5"


@pytest.fixture
def tapped():
    """The log, with the taps installed as by `configure`."""
    before = structlog.get_config()["processors"]
    structlog.configure(processors=[log.hand_to_taps, structlog.testing.LogCapture()])
    yield
    structlog.configure(processors=before)


async def test_a_worker_writes_that_it_came_and_went(app, url, tapped):
    async with running(url, ScriptedCrm(), waits=QUICK):
        await until(app, "EXISTS (SELECT FROM crm_sync.events WHERE event = 'session_opened')")
    names = [row[0] for row in await written(app)]
    assert {"worker_started", "session_opened", "worker_stopping", "worker_stopped"} <= set(names)
    assert log._taps == []
    [details] = [row[-1] for row in await written(app) if row[0] == "worker_started"]
    assert {"version", "lanes", "host"} <= details.keys()


async def test_a_worker_writes_what_it_counted_when_it_stops(app, url):
    async with running(url, ScriptedCrm(), waits=QUICK):
        await insert(app, "Queued")
        await until(app, "bool_and(brevo_sync_status = 'Complete') FROM contacts")
    assert await app.fetchval("SELECT delivered FROM crm_sync.throughput") == 1
    assert await app.fetchval("SELECT count(*) FROM crm_sync.deliveries WHERE outcome = 'delivered' AND took_ms >= 0") == 1


async def test_who_did_it_and_whose_right_it_was_is_written_down(app, database, monkeypatch):
    monkeypatch.setattr(deeds.getpass, "getuser", lambda: "ada\x1b[31m")
    assert await deeds.note(database, deeds.LANE_HELD, "brevo", reason="key rotation", empty=None, none=[]) is None
    assert await written(app) == [("lane_held", "brevo", "ada [31m", "command", None, {"reason": "key rotation"})]


async def test_where_that_cannot_be_written_the_person_is_told(app, database):
    await app.execute("DROP TABLE crm_sync.events")
    assert "who did this" in (await deeds.note(database, deeds.LANE_HELD, "brevo") or "")


def test_every_event_is_in_the_manual():
    vias = {deeds.COMMAND, deeds.WORKER, deeds.CONSOLE, deeds.API}
    named = {value for name, value in vars(deeds).items() if name.isupper() and isinstance(value, str)} - vias
    assert {name for name in named if f"| `{name}` |" not in page("reference/history.md")} == set()
    kept = re.findall(r"^\| `(\w+)` \| [a-z, ]+ \| yes \|", page("reference/log-events.md"), re.MULTILINE)
    assert set(kept) == KEPT
