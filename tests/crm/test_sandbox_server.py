"""What every fake CRM can do: go wrong as it is told, remember what it was asked, and show it."""

import asyncio
import json
import time

import aiohttp
import pytest

from crm_sync.sandbox.server import Answer, Fault, Hold, Sandbox


class Notebook(Sandbox):
    """A CRM that writes down every body it gets."""

    def __init__(self, **options):
        super().__init__(**options)
        self.notes = []

    def respond(self, call):
        self.notes.append(call.body)
        return Answer(201, {"notes": len(self.notes)})

    def throttled(self):
        return Answer(429, {"slow": "down"})

    def refused(self):
        return Answer(400, {"all": "refused"})

    def table(self, name):
        return self.notes if name == "notes" else super().table(name)


@pytest.fixture
async def crm():
    async with Notebook() as sandbox:
        yield sandbox


@pytest.fixture
async def session(crm):
    async with aiohttp.ClientSession(crm.url) as session:
        yield session


async def statuses(session, requests):
    """What this many requests were answered; None for a connection that was closed."""
    answers = []
    for number in range(requests):
        try:
            async with session.post("/notes", json={"number": number}) as response:
                answers.append(response.status)
        except aiohttp.ClientError:
            answers.append(None)
    return answers


async def post(session, body=None):
    async with session.post("/notes", json=body) as response:
        return response.status, await response.json()


async def show(session, path):
    async with session.get(f"/_sandbox/{path}") as response:
        return await response.json()


async def test_without_faults_the_crm_answers(crm, session):
    assert await post(session, {"a": 1}) == (201, {"notes": 1})
    assert crm.notes == [{"a": 1}]


# Faults.


async def test_a_fault_of_the_next_request_strikes_once_and_the_request_takes_no_effect(crm, session):
    crm.next_faults.append(Fault(answer=Answer(425, {"code": "account_in_process"}, {"X-From": "fault"})))
    async with session.post("/notes") as response:
        assert (response.status, response.headers["X-From"]) == (425, "fault")
        assert await response.json() == {"code": "account_in_process"}
    assert crm.notes == []
    assert await post(session) == (201, {"notes": 1})


async def test_faults_of_the_next_requests_strike_one_each_and_before_standing_ones(crm, session):
    crm.standing_faults.append(Fault(answer=Answer(500, {})))
    crm.next_faults += [Fault(answer=Answer(429, {})), Fault(answer=Answer(503, {}))]
    assert [(await post(session))[0] for _ in range(4)] == [429, 503, 500, 500]


async def test_a_standing_fault_strikes_what_it_matches_until_it_is_removed(crm, session):
    fault = Fault(matches=lambda call: call.body == "a", answer=Answer(502, b"<html>Bad Gateway</html>"))
    crm.standing_faults.append(fault)
    for _ in range(2):
        async with session.post("/notes", json="a") as response:
            assert (response.status, await response.read()) == (502, b"<html>Bad Gateway</html>")
    assert (await post(session, "b"))[0] == 201
    crm.standing_faults.remove(fault)
    assert (await post(session, "a"))[0] == 201


async def test_a_request_can_take_effect_before_an_error_hides_it(crm, session):
    crm.next_faults.append(Fault(applies=True, answer=Answer(504, {})))
    assert await post(session, "a") == (504, {})
    assert crm.notes == ["a"]


@pytest.mark.parametrize(("applies", "notes"), [(False, []), (True, ["a"])])
async def test_a_connection_is_dropped_before_or_after_the_request_took_effect(crm, session, applies, notes):
    crm.next_faults.append(Fault(drop=True, applies=applies))
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await post(session, "a")
    assert crm.notes == notes
    assert [request.status for request in crm.requests] == [None]


@pytest.mark.parametrize(("applies", "notes"), [(False, []), (True, ["a"])])
async def test_a_held_request_waits_until_it_is_released(crm, session, applies, notes):
    hold = Hold()
    crm.next_faults.append(Fault(hold=hold, applies=applies))
    asking = asyncio.create_task(post(session, "a"))
    await hold.reached.wait()
    assert crm.notes == notes
    hold.release()
    assert await asking == (201, {"notes": 1})


async def test_a_delayed_request_is_answered_later(crm, session):
    crm.next_faults.append(Fault(delay_s=0.05))
    started_s = time.monotonic()
    assert (await post(session))[0] == 201
    assert time.monotonic() - started_s >= 0.05


async def test_a_stopped_crm_lets_go_of_held_requests_and_comes_back_at_the_same_address(crm, session):
    await post(session)
    hold = Hold()
    crm.next_faults.append(Fault(hold=hold))
    asking = asyncio.create_task(post(session))
    await hold.reached.wait()
    await crm.stop()
    with pytest.raises(aiohttp.ClientError):
        await asking
    await crm.start()
    assert await post(session) == (201, {"notes": 2})


# The log, and the view from another process.


async def test_the_log_keeps_what_was_asked_and_answered(crm, session):
    before_s = time.time()
    await post(session, {"a": 1})
    async with session.get("/a%40b%2Fc?x=1%2C2"), session.put("/notes", data=b"not JSON"):
        pass
    create, read, put = crm.requests
    assert (create.method, create.path, create.query, create.body, create.status) == (*("POST", "/notes", {}, {"a": 1}, 201),)
    assert (read.method, read.path, read.query, read.body) == ("GET", "/a@b/c", {"x": "1,2"}, None)
    assert put.body == b"not JSON"
    assert before_s <= create.wall_s <= read.wall_s <= time.time()
    assert create.monotonic_s <= read.monotonic_s


async def test_the_log_can_be_left_out():
    async with Notebook(keep_log=False) as crm, aiohttp.ClientSession(crm.url) as session:
        await post(session)
        assert (crm.requests, crm.request_count) == ([], 1)


async def test_the_control_pages_show_what_happened_and_leave_no_trace(crm, session):
    crm.standing_faults.append(Fault(matches=lambda call: call.body == 2, answer=Answer(500, {})))
    for body in (1, 2, 3):
        await post(session, body)
    assert [(row["body"], row["status"]) for row in await show(session, "requests?since=1")] == [(2, 500), (3, 201)]
    assert await show(session, "notes") == [1, 3]
    assert await show(session, "notes?since=9") == []
    assert await show(session, "stats") == {"requests": 3}
    async with session.get("/_sandbox/unheard-of") as response:
        assert response.status == 404
    assert len(crm.requests) == 3


async def test_a_long_table_arrives_whole_with_a_row_per_line(crm, session):
    crm.notes = list(range(1203))
    async with session.get("/_sandbox/notes") as response:
        lines = (await response.text()).splitlines()
    assert (lines[0], lines[-1]) == ("[", "]")
    assert [json.loads(line.rstrip(",")) for line in lines[1:-1]] == crm.notes


# A bad day.


async def test_on_a_bad_day_one_request_is_too_many_one_fails_and_one_loses_its_answer(crm, session):
    crm.misbehave(every=3)
    assert await statuses(session, 12) == [201, 201, 201, 429, 201, 201, 503, 201, 201, None, 201, 201]
    assert [note["number"] for note in crm.notes] == [0, 1, 2, 4, 5, 7, 8, 9, 10, 11], "the lost answer's request took effect"


async def test_a_request_with_a_refused_text_is_refused_as_a_whole_however_often_it_comes(crm, session):
    crm.refuse("Tables; Jr.")
    people = [{"last_name": "Ruiz"}, {"last_name": "Tables; Jr."}]
    for _ in range(2):
        async with session.post("/notes", json={"contacts": people}) as response:
            assert (response.status, await response.json()) == (400, {"all": "refused"})
    assert crm.notes == []
    assert (await post(session, {"contacts": people[:1]}))[0] == 201


async def test_what_is_refused_takes_no_effect_where_its_answer_is_lost_either(crm, session):
    crm.refuse("Tables; Jr.")
    crm.next_faults.append(Fault(applies=True, drop=True))
    with pytest.raises(aiohttp.ClientError):
        await post(session, {"last_name": "Tables; Jr."})
    assert crm.notes == []
