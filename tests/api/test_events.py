"""Events over HTTP: in pages, and as they come."""

import asyncio
import json
from datetime import UTC, datetime
from itertools import islice

import pytest

from crm_sync.api.following import Following
from crm_sync.api.lane_models import Event
from crm_sync.errors import DatabaseTroubleError
from tests.console.running import TOKEN, visiting
from tests.harness import TIMEOUT_S
from tests.tiers import slow

INSERT = (
    "INSERT INTO crm_sync.events (at, event, crm, actor, via) "
    "VALUES (now() - make_interval(secs => $1), $2, $3, 'ada', 'command')"
)


@pytest.fixture
async def api(console_url):
    async with visiting(console_url) as visit:
        yield visit.call


async def test_pages_hold_each_once_the_latest_first(app, api):
    for number in range(7):
        await app.execute(INSERT, float(number // 2), "lane_held", "brevo")  # some at the same time
    found, after = [], ""
    while after is not None:  # token_used, the event of these requests, is left out
        _, _, page = await api("GET", f"/events?event=lane_held&limit=3{f'&after={after}' if after else ''}".replace("+", "%2B"))
        found += page["events"]
        after = page["next"]
    assert len({one["id"] for one in found}) == len(found) == 7
    assert [one["at"] for one in found] == sorted((one["at"] for one in found), reverse=True)
    assert found[0]["words"] == "paused by hand"


async def test_they_are_found_by_crm_and_kind(app, api):
    await app.execute(INSERT, 3.0, "lane_held", "brevo")
    await app.execute(INSERT, 2.0, "lane_held", "mautic")
    await app.execute(INSERT, 1.0, "worker_started", None)
    _, _, page = await api("GET", "/events?crm=brevo")
    seen = [(one["event"], one["crm"]) for one in page["events"]]
    assert seen == [("token_used", None), ("worker_started", None), ("lane_held", "brevo")]
    _, _, page = await api("GET", "/events?event=lane_held")
    assert [one["crm"] for one in page["events"]] == ["mautic", "brevo"]


@pytest.mark.parametrize("after", ["x", "2026-01-01~x", "2026-01-01T00:00:00~00000000-0000-0000-0000-000000000000", "~"])
async def test_a_place_that_is_none_is_refused(api, after):
    status, _, said = await api("GET", f"/events?after={after}")
    assert (status, "after" in said["detail"]) == (409, True)


# As they come.


def happened(number, event="lane_held", crm="brevo"):
    return Event(
        id=f"{number}", at=datetime.fromtimestamp(number, UTC), event=event, crm=crm, actor="a", via="command", role="r",
        words="w", details={},
    )  # fmt: skip


class Events:
    """The content of the database in successive looks; an error while it is unreachable."""

    def __init__(self, *looks):
        self._looks = [*looks]
        self.count = 0

    async def __call__(self):
        self.count += 1
        look = self._looks.pop(0) if len(self._looks) > 1 else self._looks[0]
        if isinstance(look, Exception):
            raise look
        return [happened(number) for number in sorted(look, reverse=True)]


async def told(events, last_id=None, *, most, **which):
    """Ids of the first `most`, and the other lines sent."""
    stream = Following(events, look_s=0.0, silence_s=0.0).stream(last_id, **which)
    found = []
    async with asyncio.timeout(TIMEOUT_S):
        async for chunk in stream:
            found += [line.removeprefix("id: ") for line in chunk.decode().splitlines() if line.startswith("id: ")]
            if len(found) >= most:
                return found
    return found


async def test_who_comes_is_told_of_what_happens_from_then_on():
    assert await told(Events([1, 2], [1, 2, 3], [1, 2, 3, 4]), most=2) == ["3", "4"]


async def test_one_that_is_written_later_than_what_came_after_it_is_told_too():
    assert await told(Events([1, 5], [1, 3, 5]), most=1) == ["3"]


async def test_who_comes_again_is_told_of_what_he_has_missed():
    assert await told(Events([1, 2, 3, 4]), "2", most=2) == ["3", "4"]


async def test_who_was_away_for_longer_than_can_be_looked_back_is_told_of_all_there_is():
    assert await told(Events([8, 9]), "2", most=2) == ["8", "9"]


async def test_a_database_that_is_away_ends_nothing_and_loses_nothing():
    away = DatabaseTroubleError("away")
    assert await told(Events([1], away, away, [1, 2]), most=1) == ["2"]


async def test_only_what_was_asked_for_is_told():
    assert await told(Events([1], [1, 2], [1, 2, 3]), most=2, crm="brevo") == ["2", "3"]
    stream = Following(Events([1], [1, 2]), look_s=0.0, silence_s=0.0).stream(None, crm="mautic")
    said = [chunk async for chunk, _ in _zip(stream, range(4))]
    assert b"".join(said) == b"retry: 5000\n\n" + 3 * b": nothing new\n\n"


async def _zip(stream, numbers):
    for number in numbers:
        yield await anext(stream), number


def test_an_event_of_several_lines_stays_one():
    line = happened(1).model_copy(update={"details": {"reason": "a\nb\n\nid: 9"}}).model_dump_json()
    assert "\n" not in line
    assert len([*islice(json.loads(line), 3)]) == 3


@slow
async def test_over_http_they_come_as_they_happen(app, console_url):
    headers = {"Authorization": f"Bearer {TOKEN}", "Accept": "text/event-stream"}
    async with visiting(console_url) as visit, visit.http.get(f"{visit.where}v1/events", headers=headers) as response:
        assert response.content_type == "text/event-stream"
        assert response.headers["Cache-Control"] == "no-store"
        assert (await response.content.readline()) == b"retry: 5000\n"
        await visit.call("PUT", "/crms/brevo/pause", {"reason": "a new key"})
        async with asyncio.timeout(10):
            while not (line := await response.content.readline()).startswith(b"data: "):
                pass
    said = json.loads(line.removeprefix(b"data: "))
    assert (said["event"], said["actor"], said["details"]) == ("lane_held", "console", {"reason": "a new key"})


async def test_without_a_token_nobody_follows(visit):
    async with visit.http.get(f"{visit.where}v1/events", headers={"Accept": "text/event-stream"}) as response:
        assert response.status == 401
