"""What happens when a CRM is down, slow, busy, or refuses every contact: the lane waits, and no contact is marked.

An hour of the breaker is scaled down: its pauses grow to milliseconds instead of a minute.
"""

import asyncio
import email.utils
import signal
import time

import pytest
from structlog.testing import capture_logs

from crm_sync import events
from crm_sync.core.waits import Waits
from crm_sync.crm import answer
from crm_sync.sandbox.process import CRMS, settings
from crm_sync.sandbox.server import Answer, Fault
from tests.faults.promise import Stopwatch, said
from tests.faults.real_crms import PEOPLE, assert_delivered, assert_unharmed, complete, delivering, sandboxes
from tests.harness import TIMEOUT_S, until
from tests.process import environment, process
from tests.process import said as process_said
from tests.tiers import one_quick, slow

DOWN = Fault(answer=Answer(503, b"<html>down</html>", {"Content-Type": "text/html"}))
DROPPING = Fault(drop=True)


# Sixty probes, an hour's worth, take a second or two.
SHORT_PAUSES = Waits(first_probe_s=0.02, longest_probe_s=0.02)


@slow
@pytest.mark.parametrize("fault", [DOWN, DROPPING, None], ids=["503", "dropped", "refused"])
@pytest.mark.parametrize("crm", one_quick(CRMS))
async def test_a_crm_that_is_down_for_an_hour_marks_nobody_and_gets_one_probe_at_a_time(app, url, monkeypatch, crm, fault):
    await app.execute(PEOPLE.format(crm=crm), 50)
    async with sandboxes(crm) as there:
        sandbox = there[crm]
        if fault is None:
            await sandbox.stop()
        else:
            sandbox.standing_faults.append(fault)
        with capture_logs() as log:
            async with delivering(url, monkeypatch, {crm: sandbox.url}, waits=SHORT_PAUSES) as clients:
                await said(log, events.BREAKER_OPENED)
                client = clients[crm]
                async with asyncio.timeout(TIMEOUT_S):
                    while client.in_flight:  # noqa: ASYNC110 (those in flight when it opened)
                        await asyncio.sleep(0.001)
                client.most_in_flight, before = 0, len(client.requests)
                await client.called(before + 60)
                assert client.most_in_flight == 1
                assert {len(request) for request in client.requests[before:]} == {1}
                await assert_unharmed(app, crm)
                assert len([entry for entry in log if entry["event"] == events.BREAKER_OPENED]) == 1, "said once"
                sandbox.standing_faults.clear()
                if fault is None:
                    await sandbox.start()
                await until(app, complete(crm))
        await assert_delivered(app, crm, sandbox)


@pytest.mark.parametrize("crm", one_quick(CRMS))
async def test_a_crm_that_goes_down_in_the_middle_of_much_work_marks_nobody(app, url, monkeypatch, crm):
    await app.execute(PEOPLE.format(crm=crm), 500)
    async with sandboxes(crm) as there:
        sandbox = there[crm]
        goes_down = Fault(lambda call: sandbox.request_count >= 3, answer=DOWN.answer)
        sandbox.standing_faults.append(goes_down)
        with capture_logs() as log:
            async with delivering(url, monkeypatch, {crm: sandbox.url}, waits=SHORT_PAUSES, N8N_BATCH_SIZE="50") as clients:
                await said(log, events.BREAKER_OPENED)
                await clients[crm].called(len(clients[crm].requests) + 10)
                sandbox.standing_faults.clear()
                marked = await app.fetchval(f"SELECT count(*) FROM contacts WHERE {crm}_processing_error IS NOT NULL")
                assert marked == 0
                await until(app, complete(crm))
        await assert_delivered(app, crm, sandbox)


@slow
@pytest.mark.parametrize("crm", one_quick(CRMS))
async def test_a_crm_that_answers_too_late_is_an_outage_and_makes_no_record_twice(app, url, monkeypatch, crm):
    """Answers after thirty seconds with a timeout of twenty, scaled to 0.45 s and 0.3 s. The CRM applies what it answers too
    late.
    """
    # A busy machine may answer one too late while others are served, which counts as that contact's own failure.
    monkeypatch.setenv(f"{crm.upper()}_SYNC_RETRY_DELAY_MINUTES", "0.0002")
    monkeypatch.setenv(f"{crm.upper()}_SYNC_MAX_RETRIES", "100")
    await app.execute(PEOPLE.format(crm=crm), 20)
    async with sandboxes(crm) as there:
        sandbox = there[crm]
        slow = Fault(applies=True, delay_s=0.45)
        sandbox.standing_faults.append(slow)
        with capture_logs() as log:
            async with delivering(url, monkeypatch, {crm: sandbox.url}, waits=SHORT_PAUSES, timeout_s=0.3) as clients:
                await said(log, events.BREAKER_OPENED, "TIMEOUT")
                await clients[crm].called(len(clients[crm].requests) + 3)
                await assert_unharmed(app, crm)
                sandbox.standing_faults.clear()
                await until(app, complete(crm))
        await assert_delivered(app, crm, sandbox, attempts=3)


@pytest.mark.parametrize("crm", one_quick(CRMS))
async def test_a_crm_that_is_only_slow_is_waited_for(app, url, monkeypatch, crm):
    """Answers just within the timeout: nothing is sent twice."""
    await app.execute(PEOPLE.format(crm=crm), 10)
    async with sandboxes(crm) as there:
        there[crm].standing_faults.append(Fault(delay_s=0.3))
        async with delivering(url, monkeypatch, {crm: there[crm].url}, timeout_s=3.0) as clients:
            await until(app, complete(crm))
        assert set(clients[crm].sent.values()) == {1}
        await assert_delivered(app, crm, there[crm])


@pytest.mark.parametrize("up", [3, 10])
@pytest.mark.parametrize("crm", one_quick(CRMS))
@slow
async def test_a_crm_that_flaps_leaves_nobody_in_error(app, url, monkeypatch, crm, up):
    """This many requests are served, the next three are not, 300 in all: some minutes in production, like the first delay of a
    retry, here a second. A contact that fails repeatedly while others are served is taken for the cause, and uses up attempts.
    """
    await app.execute(PEOPLE.format(crm=crm), 2000 if crm in ("hubspot", "mautic") else 200)
    monkeypatch.setenv(f"{crm.upper()}_SYNC_RETRY_DELAY_MINUTES", str(1 / 60))
    async with sandboxes(crm) as there:
        sandbox = there[crm]
        sandbox.standing_faults.append(
            Fault(lambda call: sandbox.request_count < 300 and sandbox.request_count % (up + 3) >= up, answer=DOWN.answer)
        )
        async with delivering(url, monkeypatch, {crm: sandbox.url}, waits=SHORT_PAUSES, N8N_BATCH_SIZE="10") as clients:
            await until(app, f"bool_and({crm}_sync_status IN ('Complete', 'Error')) FROM contacts")
        spread = await app.fetch(f"SELECT {crm}_attempts, count(*) FROM contacts GROUP BY 1 ORDER BY 1")
        print(f"\n{crm}, {up} up and 3 down: attempts {[tuple(row) for row in spread]}, {len(clients[crm].requests)} requests")
        await assert_delivered(app, crm, sandbox, attempts=4)  # the first, and as many retries as there are


# Keys.


@pytest.mark.parametrize("crm", one_quick(CRMS))
@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_key_pauses_the_lane_loudly_until_it_is_accepted(app, url, monkeypatch, crm, status):
    await app.execute(PEOPLE.format(crm=crm), 50)
    async with sandboxes(crm) as there:
        refusal = Answer(status, {"message": "not you", "errors": [{"message": "not you", "code": status}]})
        there[crm].standing_faults.append(Fault(answer=refusal))
        with capture_logs() as log:
            async with delivering(url, monkeypatch, {crm: there[crm].url}, waits=SHORT_PAUSES) as clients:
                await said(log, events.BREAKER_OPENED)
                await clients[crm].called(len(clients[crm].requests) + 5)
                await assert_unharmed(app, crm)
                loud = [entry for entry in log if entry["event"] == events.BREAKER_OPENED]
                assert [entry["log_level"] for entry in loud] == ["error"]
                there[crm].standing_faults.clear()
                await until(app, complete(crm))
        await assert_delivered(app, crm, there[crm])


async def test_a_wrong_key_is_replaced_by_a_reload_and_no_contact_was_marked(app, url, tmp_path):
    """The real process, with its key in a file of systemd's LoadCredential."""
    key = tmp_path / "brevo_api_key"
    key.write_text("xkeysib-the-wrong-one")
    await app.execute(PEOPLE.format(crm="brevo"), 50)
    async with sandboxes("brevo") as there:
        env = environment(url) | settings("brevo", there["brevo"].url) | {"CREDENTIALS_DIRECTORY": str(tmp_path)}
        right = env.pop("BREVO_API_KEY")
        async with process(env) as worker:
            loud = await process_said(worker, events.BREAKER_OPENED)
            assert (loud["level"], loud["code"]) == ("error", "REFUSED")
            await assert_unharmed(app, "brevo")
            key.write_text(right)
            worker.send_signal(signal.SIGHUP)
            stopwatch = Stopwatch()
            await process_said(worker, events.CONFIGURATION_RELOADED)
            await until(app, complete("brevo"))
            stopwatch.tell("a new key, from SIGHUP to all delivered")
        await assert_delivered(app, "brevo", there["brevo"])


# Too many requests.


def http_date(seconds):
    return email.utils.formatdate(time.time() + seconds, usegmt=True)


def wall_time(said):
    """Of a date; 0 for anything else."""
    try:
        return email.utils.parsedate_to_datetime(said).timestamp()
    except (TypeError, ValueError):
        return 0.0


# The value of Retry-After, and how long no worker calls. Garbage and nothing mean the default, a billion the longest pause: both
# scaled.
SAID = {
    "seconds": (lambda: "2", 2.0),
    "a date": (lambda: http_date(3), 2.0),
    "a date that is past": (lambda: http_date(-100), 1.0),
    "garbage": (lambda: "soon", 2.0),
    "a billion": (lambda: "1000000000", 3.0),
    "nothing": (lambda: None, 2.0),
}


@pytest.fixture
def scaled_throttling(monkeypatch):
    monkeypatch.setattr(answer, "DEFAULT_PAUSE_S", 2.0)
    monkeypatch.setattr(answer, "LONGEST_PAUSE_S", 3.0)


PACED = {"as configured": "10/s", "without a limit of our own": "none"}


@slow
@pytest.mark.parametrize("limits", PACED.values(), ids=PACED.keys())
@pytest.mark.parametrize(("value", "pause_s"), SAID.values(), ids=SAID.keys())
async def test_after_a_429_no_worker_calls_before_its_time(  # noqa: PLR0917
    app, url, monkeypatch, scaled_throttling, value, pause_s, limits
):
    """Two workers share the database. Brevo answers one request with 429, and would accept it a moment later: any early call is
    seen.
    """
    async with sandboxes("brevo") as there:
        sandbox = there["brevo"]
        said_value = value()
        headers = {} if said_value is None else {"Retry-After": said_value}
        sandbox.next_faults.append(Fault(answer=Answer(429, {"code": "too_many_requests", "message": "slow down"}, headers)))
        env = {"BREVO_LIMITS": limits}
        urls = {"brevo": sandbox.url}
        async with delivering(url, monkeypatch, urls, **env), delivering(url, monkeypatch, urls, **env):
            await until(app, "count(*) = 2 FROM crm_sync.workers")
            await app.execute(PEOPLE.format(crm="brevo"), 1)
            # A contact that the other worker claims just before this is written is in its hands.
            await until(app, "breaker <> 'closed' FROM crm_sync.lanes WHERE crm = 'brevo'")
            # Both workers are told about these.
            for number in range(20):
                await app.execute("INSERT INTO contacts (email, first_name, brevo_sync_status) VALUES ($1, 'Ada', 'Queued')",
                                  f"{number}@example.com")  # fmt: skip
            await until(app, complete("brevo"))
        times = [request.monotonic_s for request in sandbox.requests]
        # A date is absolute, however long the first call took.
        ahead_s = wall_time(said_value) - sandbox.requests[0].wall_s
        if wall_time(said_value):
            pause_s = min(max(ahead_s, 0.0), pause_s) or min(1.0, pause_s)  # one in the past: a second
        assert times[1] - times[0] >= pause_s - 0.1
        assert times[1] - times[0] <= pause_s + 2.5
        await assert_delivered(app, "brevo", sandbox)
        assert len(sandbox.requests) == 1 + 21


@slow
@pytest.mark.parametrize("crm", one_quick(CRMS))
async def test_each_crm_that_says_429_is_left_alone_and_no_contact_loses_an_attempt(app, url, monkeypatch, crm):
    await app.execute(PEOPLE.format(crm=crm), 30)
    async with sandboxes(crm) as there:
        until_s: float | None = None  # from the first of them, however long the worker takes to start

        def too_early(_):
            nonlocal until_s
            now_s = asyncio.get_running_loop().time()
            until_s = until_s or now_s + 2
            return now_s < until_s

        there[crm].standing_faults.append(Fault(too_early, answer=Answer(429, {"message": "slow down"}, {"Retry-After": "2"})))
        with capture_logs() as log:
            async with delivering(url, monkeypatch, {crm: there[crm].url}):
                await said(log, events.LANE_PAUSED, "RATE_LIMITED")
                await assert_unharmed(app, crm)
                await until(app, complete(crm))
        refused = [request for request in there[crm].requests if request.status == 429]
        assert len(refused) <= 16, "those that were under way, and none after them"
        await assert_delivered(app, crm, there[crm])
