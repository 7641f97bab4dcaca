"""The real process: signals, exit codes, and what is left after a kill."""

import asyncio
import json
import signal
import sys
from contextlib import suppress

import pytest

from crm_sync.sandbox.server import Fault, Hold
from tests.harness import ALL_COMPLETE, TIMEOUT_S, until
from tests.process import KEY, ended, environment, process, said
from tests.steps import insert
from tests.tiers import slow

MANY = "INSERT INTO contacts (email, brevo_sync_status) SELECT n || '@example.com', 'Queued' FROM generate_series(1, $1) AS n"


async def test_killed_in_the_middle_and_started_again_it_delivers_everything(app, url, brevo):
    hold = Hold()
    brevo.standing_faults.append(Fault(lambda call: brevo.request_count >= 50, applies=True, hold=hold))
    await app.execute(MANY, 300)
    async with process(environment(url, brevo)) as victim:
        await asyncio.wait_for(hold.reached.wait(), TIMEOUT_S)
        victim.send_signal(signal.SIGKILL)
        await victim.wait()
    in_hand = await app.fetchval("SELECT count(*) FROM contacts WHERE brevo_claimed_by IS NOT NULL")
    assert in_hand > 0
    brevo.standing_faults.clear()
    hold.release()
    async with process(environment(url, brevo)):
        await until(app, ALL_COMPLETE)
    assert len(brevo.contacts) == 300, "no record twice"
    posts = [request for request in brevo.requests if request.method == "POST"]
    assert len(posts) <= 300 + in_hand, "at most what was in hand is sent twice"
    assert await app.fetchval("SELECT max(brevo_attempts) FROM contacts") <= 2


async def test_sigterm_drains_and_exits_with_0(app, url, brevo):
    hold = Hold()
    brevo.next_faults.append(Fault(lambda call: True, applies=True, hold=hold))
    async with process(environment(url, brevo)) as running:
        await said(running, "session_opened")
        await insert(app, "Queued")
        await asyncio.wait_for(hold.reached.wait(), TIMEOUT_S)
        running.send_signal(signal.SIGTERM)
        await said(running, "worker_stopping")
        hold.release()
        code, _, _ = await ended(running)
    assert code == 0
    assert await app.fetchval("SELECT brevo_sync_status::text FROM contacts") == "Complete"
    assert await app.fetchval("SELECT count(*) FROM crm_sync.workers") == 0


async def test_a_second_sigterm_ends_it_at_once_and_nothing_is_lost(app, url, brevo):
    hold = Hold()
    brevo.next_faults.append(Fault(lambda call: True, applies=True, hold=hold))
    async with process(environment(url, brevo, SHUTDOWN_GRACE_S="600")) as running:
        await said(running, "session_opened")
        await insert(app, "Queued")
        await asyncio.wait_for(hold.reached.wait(), TIMEOUT_S)
        running.send_signal(signal.SIGTERM)
        await said(running, "worker_stopping")
        running.send_signal(signal.SIGTERM)
        code, _, err = await ended(running)
    assert code == 0
    assert "Traceback" not in err
    hold.release()
    async with process(environment(url, brevo)):
        await until(app, ALL_COMPLETE)


async def test_neither_key_nor_personal_data_are_in_the_log(app, url, brevo):
    brevo.account.duplicate_code = "invalid_parameter"
    async with process(environment(url, brevo)) as running:
        for email in ("canary-one@example.com", "canary-two@example.com", "canary is no address"):
            await app.execute(
                "INSERT INTO contacts (email, first_name, phone, brevo_sync_status) "
                "VALUES ($1, 'Canaryname', '+33639981111', 'Queued')",
                email,
            )
        await until(app, "bool_and(brevo_sync_status IN ('Complete', 'Error')) FROM contacts")
        running.send_signal(signal.SIGTERM)
        _, out, err = await ended(running)
    errors = await app.fetch("SELECT brevo_processing_error FROM contacts WHERE brevo_processing_error IS NOT NULL")
    assert len(errors) == 2
    for text in (out, err, *(row[0] for row in errors)):
        for mark in (KEY, "canary", "Canaryname", "639981111"):
            assert mark not in text


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("DATABASE_URL", "mysql://secret@example.com/x", "postgresql://"),
        ("DATABASE_URL", "", "required"),
        ("SHUTDOWN_GRACE_S", "-1", "greater than or equal to 0"),
        ("HTTP_ALLOWED_HOSTS", "http://secret", "n8n:5678"),
        ("MAPPING_FILE", "/nonexistent/secret.toml", "No such file"),
    ],
)
async def test_a_wrong_setting_of_all_lanes_stops_the_start_with_its_name_and_never_its_value(url, brevo, name, value, expected):
    async with process(environment(url, brevo, **{name: value})) as running:
        code, out, err = await ended(running)
    assert code == 78
    assert name in err
    assert expected in err
    assert "secret" not in out + err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("BREVO_SYNC_MAX_RETRIES", "secret", "integer"),
        ("BREVO_SYNC_SCHEDULER_BATCH_SIZE", "0", "greater than or equal to 1"),
        ("BREVO_LIMITS", "secret", "100/10s"),
        ("BREVO_LIST_ID", "secret", "integer"),
        ("BREVO_BASE_URL", "http://secret.example.com/v3", "https"),
        ("BREVO_API_KEY", "secret\u201d", "BREVO_API_KEY"),
    ],
)
async def test_a_wrong_setting_of_one_crm_is_its_lanes_with_its_name_and_never_its_value(url, brevo, name, value, expected):
    async with process(environment(url, brevo, **{name: value})) as running:
        entry = await said(running, "lane_faulty")
        assert entry["crm"] == "brevo"
        assert name in str(entry["reason"])
        assert expected in str(entry["reason"])
        await said(running, "session_opened")
        running.send_signal(signal.SIGTERM)
        code, out, err = await ended(running)
    assert code == 0
    assert "secret" not in f"{entry}{out}{err}"
    assert "Traceback" not in err


async def test_a_contacts_table_that_is_not_adopted_stops_the_start(app, url, brevo):
    await app.execute("CREATE TABLE people (id int PRIMARY KEY, email text)")
    async with process(environment(url, brevo, CONTACTS_TABLE="people")) as running:
        code, _, err = await ended(running)
    assert code == 78
    assert "CONTACTS_TABLE" in err


async def test_an_unreachable_database_is_waited_for_with_a_plain_message(brevo):
    async with process(environment("postgresql://nobody@127.0.0.1:1/nothing", brevo)) as running:
        entry = await said(running, "database_trouble")
        assert "waiting for the database" in str(entry["note"])
        assert running.returncode is None
        running.send_signal(signal.SIGTERM)
        code, _, err = await ended(running)
    assert code == 0
    assert "Traceback" not in err


async def test_a_crm_without_credentials_has_no_lane_and_that_is_said_once(app, url):
    async with process(environment(url)) as running:
        await said(running, "session_opened")
        await insert(app, "Queued")
        running.send_signal(signal.SIGTERM)
        _, _, err = await ended(running)
    assert await app.fetchval("SELECT brevo_sync_status::text FROM contacts") == "Queued"
    assert err.count("lane_without_credentials") <= 4


@slow
async def test_migrate_check_status_and_undo_from_nothing(empty_url, brevo):
    env = environment(empty_url, brevo, owner=True)
    for arguments, code, text in [
        (("migrate", "--check"), 1, "missing  0001.crm-sync-schema"),
        (("check",), 1, "run `crm-sync adopt`"),
        (("migrate",), 78, ""),
        (("migrate", "--create"), 0, "applied  0006.lane-faults"),
        (("migrate",), 0, "up to date"),
        (("migrate", "--check"), 0, "Nothing is missing"),
        (("check",), 0, "key accepted"),
        (("status",), 0, "start one with"),
        (("adopt", "--undo", "--yes"), 0, "nothing of crm-sync is left"),
    ]:
        async with process(env, *arguments) as running:
            answer = await ended(running)
        assert answer[0] == code, answer
        assert text in answer[1].replace("\n", " "), answer


@pytest.mark.slow
async def test_status_as_json_tells_states_rate_and_reasons(app, url, brevo):
    await insert(app, "Queued")
    await insert(app, "Queued", "no address")
    await insert(app, "Skipped", "bob@example.com")
    async with process(environment(url, brevo)):
        await until(app, "bool_and(brevo_sync_status IN ('Complete', 'Error', 'Skipped')) FROM contacts")
        await until(app, "EXISTS (SELECT FROM crm_sync.progress WHERE crm = 'brevo' AND delivered_at IS NOT NULL)")
        async with process(environment(url, brevo), "status", "--json", "--exact") as running:
            _, out, _ = await ended(running)
    status = json.loads(out)
    lane = next(lane for lane in status["lanes"] if lane["crm"] == "brevo")
    assert (lane["complete"], lane["error"], lane["skipped"], lane["ready"]) == (1, 1, 1, 0)
    assert lane["delivered_last_minute"] == 1
    assert lane["failures"][0]["code"] == "INVALID_EMAIL"
    assert lane["last_error"] == "INVALID_EMAIL: the email address is malformed"
    assert [worker["alive"] for worker in status["workers"]] == [True]


# Its streams.


async def test_a_log_that_cannot_be_written_stops_no_delivery(app, url, brevo):
    worker = await asyncio.create_subprocess_exec(
        "sh", "-c", f"exec {sys.executable} -m crm_sync run 2>/dev/full", env=environment(url, brevo), cwd="/"
    )
    try:
        await insert(app, "Queued")
        await until(app, ALL_COMPLETE)
        worker.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(worker.wait(), TIMEOUT_S) == 0
    finally:
        with suppress(ProcessLookupError):
            worker.kill()


async def test_a_log_whose_reader_has_gone_stops_no_delivery(app, url, brevo):
    async with process(environment(url, brevo), fresh=True) as worker:
        await insert(app, "Queued")
        await until(app, ALL_COMPLETE)
        worker.stderr._transport.close()
        await app.execute("UPDATE contacts SET brevo_sync_status = 'Queued'")
        await until(app, ALL_COMPLETE)
        worker.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(worker.wait(), TIMEOUT_S) == 0


@pytest.mark.parametrize("closed", ["<&-", "<&- >&-", "<&- >&- 2>&-"])
async def test_standard_streams_may_be_closed(app, url, brevo, closed):
    worker = await asyncio.create_subprocess_exec(
        "sh", "-c", f"exec {sys.executable} -m crm_sync run {closed}", env=environment(url, brevo), cwd="/"
    )
    try:
        await insert(app, "Queued")
        await until(app, ALL_COMPLETE)
        worker.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(worker.wait(), TIMEOUT_S) == 0
    finally:
        with suppress(ProcessLookupError):
            worker.kill()
