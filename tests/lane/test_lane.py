"""A contact's way through the lane, with a scripted CRM."""

import asyncio
import threading

import asyncpg
import pytest

from crm_sync.core.outcome import Outcome
from crm_sync.core.waits import Waits
from crm_sync.errors import NotSentError, OutageError, RefusedError, ThrottledError
from crm_sync.lane.dispatch import Dispatch
from crm_sync.lane.judge import Judge
from crm_sync.table.contacts import Contacts
from tests.harness import ALL_COMPLETE, TIMEOUT_S, ScriptedCrm, running, until, until_asleep
from tests.roles import let_in
from tests.steps import insert, orphan, pair, read, write
from tests.tiers import slow

MANY = (
    "INSERT INTO contacts (email, first_name, brevo_sync_status) "
    "SELECT n || '@example.com', 'Ada', 'Queued' FROM generate_series(1, $1) AS n"
)

# Waits until they have ended.
END_SESSIONS = (
    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
    "WHERE application_name = 'crm-sync session' AND datname = current_database()"
)


QUICK_PROBES = Waits(longest_probe_s=0.05)


@pytest.fixture
def crm() -> ScriptedCrm:
    return ScriptedCrm()


async def test_a_flipped_contact_is_in_the_crm_and_its_row_says_so(app, url, crm):
    async with running(url, crm):
        await until_asleep(app)
        contact = await insert(app)
        await write(app, contact, sync_status="Queued")
        await until(app, ALL_COMPLETE)
    row = await read(app, contact)
    assert (row["processing_status"], row["contact_id"], row["attempts"]) == ("Complete", f"crm-{contact}", 1)
    assert (row["due_at"], row["claimed_by"], row["processing_error"]) == (None, None, None)
    assert row["synced_at"] is not None
    assert crm.store == {contact: {"email": "ada@example.com", "FIRSTNAME": "Ada"}}


async def test_what_was_flipped_before_the_worker_started_is_delivered(app, url, crm):
    await app.execute(MANY, 500)
    async with running(url, crm):
        await until(app, ALL_COMPLETE)
    assert len(crm.store) == 500
    assert len(crm.requests) == 500


async def test_a_flip_while_in_flight_runs_once_more_after_it_with_the_new_value(app, url, crm):
    crm.gate.clear()
    async with running(url, crm):
        contact = await insert(app, "Queued")
        await crm.reached(1)
        await app.execute("UPDATE contacts SET first_name = 'Eve', brevo_sync_status = 'Queued'")
        assert await pair(app, contact) == ("Queued", "Processing")
        crm.gate.set()
        await until(app, ALL_COMPLETE)
    assert [request[0].fields["FIRSTNAME"] for request in crm.requests] == ["Ada", "Eve"]
    assert crm.twice_in_flight == []


async def test_a_worker_that_was_frozen_sends_nothing_that_others_may_have_by_now(app, url, crm, monkeypatch):
    """Frozen after the claim: its session ends, the contact is withdrawn, and it wakes before it has noticed."""
    start, frozen = Dispatch.start, []

    async def meanwhile():
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(END_SESSIONS)
            await connection.execute("UPDATE contacts SET brevo_sync_status = 'Skipped'")
        finally:
            await connection.close()

    def start_frozen(dispatch, claimed):
        if claimed.contacts and not frozen:
            frozen.append(claimed.contacts)
            thread = threading.Thread(target=lambda: asyncio.run(meanwhile()))
            thread.start()
            thread.join(TIMEOUT_S)
        start(dispatch, claimed)

    monkeypatch.setattr(Dispatch, "start", start_frozen)
    async with running(url, crm):
        await until_asleep(app)
        await insert(app, "Queued")
        await until(app, "bool_and(brevo_claimed_by IS NULL AND brevo_sync_status = 'Skipped') FROM contacts")
        other = await insert(app, "Queued", "bob@example.com")
        await until(app, "bool_or(brevo_sync_status = 'Complete') FROM contacts")
    assert len(frozen) == 1
    assert set(crm.store) == {other}


async def test_a_contact_withdrawn_in_flight_keeps_the_word_of_the_person(app, url, crm):
    crm.gate.clear()
    async with running(url, crm):
        contact = await insert(app, "Queued")
        await crm.reached(1)
        await write(app, contact, sync_status="Skipped")
        crm.gate.set()
        await until(app, "bool_and(brevo_claimed_by IS NULL) FROM contacts")
        assert await pair(app, contact) == ("Skipped", "Complete")
    assert len(crm.requests) == 1


async def test_a_contact_deleted_in_flight_harms_nothing(app, url, crm):
    crm.gate.clear()
    async with running(url, crm):
        await insert(app, "Queued")
        await crm.reached(1)
        await app.execute("DELETE FROM contacts")
        other = await insert(app, "Queued", "bob@example.com")
        crm.gate.set()
        await until(app, ALL_COMPLETE)
    assert other in crm.store


async def test_a_row_locked_by_the_application_is_delivered_when_released(app, other_app, url, crm):
    async with running(url, crm):
        await until_asleep(app)
        async with other_app.transaction():
            held = await insert(app)
            await other_app.execute("SELECT 1 FROM contacts WHERE id = $1 FOR NO KEY UPDATE", held)
            flip = asyncio.create_task(write(app, held, sync_status="Queued"))
        await flip
        await until(app, ALL_COMPLETE)
        # Locked after the flip: the claim skips it, and must come back without a bell.
        await write(app, held, sync_status="New")
        await until_asleep(app)
        async with other_app.transaction():
            await write(app, held, sync_status="Queued")
            await other_app.execute("SELECT 1 FROM contacts FOR NO KEY UPDATE")
        await until(app, ALL_COMPLETE)
    assert held in crm.store


async def test_a_row_locked_while_in_flight_is_finished_when_released_and_holds_nobody_up(app, other_app, url, crm):
    crm.gate.clear()
    async with running(url, crm):
        held = await insert(app, "Queued")
        await crm.reached(1)
        async with other_app.transaction():
            await other_app.execute("SELECT 1 FROM contacts WHERE id = $1 FOR UPDATE", held)
            crm.gate.set()
            free = await insert(app, "Queued", "bob@example.com")
            await until(app, "brevo_sync_status = 'Complete' FROM contacts WHERE id = $1", free)
            assert await pair(app, held) == ("Processing", "Processing")
        await until(app, ALL_COMPLETE)
    assert len(crm.requests) == 2


async def test_an_invalid_email_is_in_error_with_its_reason_and_the_batch_goes_on(app, url):
    crm = ScriptedCrm(batch_limit=100)
    emails = ["ada@example.com", "not an address", None, "", "bob@example.com", " zoe@example.com "]
    for email in emails:
        await insert(app, "Queued", email)
    async with running(url, crm):
        await until(app, "bool_and(brevo_sync_status IN ('Complete', 'Error')) FROM contacts")
    rows = await app.fetch("SELECT email, brevo_processing_error FROM contacts WHERE brevo_sync_status = 'Error'")
    assert {row["email"]: row["brevo_processing_error"] for row in rows} == {
        "not an address": "INVALID_EMAIL: the email address is malformed",
        None: "INVALID_EMAIL: the contact has no email address: add one to the row, and queue it again",
        "": "INVALID_EMAIL: the contact has no email address: add one to the row, and queue it again",
    }
    assert sorted(entry["email"].strip() for entry in crm.store.values()) == [
        "ada@example.com",
        "bob@example.com",
        "zoe@example.com",
    ]


async def test_a_failed_contact_waits_for_its_retry_and_is_in_error_when_they_are_used_up(app, url, crm, monkeypatch):
    monkeypatch.setenv("BREVO_SYNC_RETRY_DELAY_MINUTES", "0.001")
    monkeypatch.setenv("BREVO_SYNC_MAX_RETRIES", "2")
    crm.answer = lambda _: Outcome.failed("TOO_EARLY", "not now")
    async with running(url, crm):
        contact = await insert(app, "Queued")
        await until(app, "brevo_sync_status = 'Error' FROM contacts")
    row = await read(app, contact)
    assert (row["attempts"], row["processing_error"]) == (3, "TOO_EARLY: not now")
    assert len(crm.requests) == 3


async def test_a_contact_that_succeeds_on_its_retry_is_complete(app, url, crm, monkeypatch):
    monkeypatch.setenv("BREVO_SYNC_RETRY_DELAY_MINUTES", "0.001")
    answers = iter([Outcome.failed("TOO_EARLY", "not now"), Outcome.delivered("9")])
    crm.answer = lambda _: next(answers)
    async with running(url, crm):
        contact = await insert(app, "Queued")
        await until(app, ALL_COMPLETE)
    row = await read(app, contact)
    assert (row["attempts"], row["processing_error"], row["contact_id"]) == (2, None, "9")


class Outage:
    """Raises until it is over."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.over = False
        self.calls = 0

    def __call__(self, contact: object) -> Outcome:
        self.calls += 1
        if not self.over:
            raise self.error
        return Outcome.delivered("1")


@pytest.mark.parametrize(
    "error",
    [
        OutageError("CRM_ERROR", "the CRM failed with 503"),
        NotSentError("UNREACHABLE", "no connection"),
        # A CRM that refuses is probed later than one that is down.
        pytest.param(RefusedError("REFUSED", "the CRM refuses everybody with 401"), marks=slow),
    ],
)
async def test_an_outage_leaves_no_contact_in_error_and_uses_up_no_attempt(app, url, crm, error):
    crm.answer = outage = Outage(error)
    await app.execute(MANY, 200)
    async with running(url, crm, waits=QUICK_PROBES):
        async with asyncio.timeout(TIMEOUT_S):
            while outage.calls < 20:  # noqa: ASYNC110 (the condition is a number of calls)
                await asyncio.sleep(0.01)
        states = await app.fetch("SELECT DISTINCT brevo_sync_status, brevo_processing_error FROM contacts")
        assert {tuple(row) for row in states} <= {("Queued", None), ("Processing", None)}
        assert await app.fetchval("SELECT max(brevo_attempts) FROM contacts") <= 1
        outage.over = True
        await until(app, ALL_COMPLETE)
    assert await app.fetchval("SELECT max(brevo_attempts) FROM contacts") == 1


async def test_a_contact_the_crm_fails_on_while_it_serves_others_uses_up_its_attempts(app, url, monkeypatch):
    monkeypatch.setenv("BREVO_SYNC_RETRY_DELAY_MINUTES", "0.001")
    monkeypatch.setenv("BREVO_SYNC_MAX_RETRIES", "1")

    class Picky(ScriptedCrm):
        """Fails for one contact, and only after it has served another meanwhile."""

        async def deliver(self, contacts):
            if contacts[0].email != "poison@example.com":
                return await super().deliver(contacts)
            served = len(self.requests)
            await insert(app, "Queued", "good@example.com")
            await self.reached(served + 1)
            await asyncio.sleep(0)
            raise OutageError("CRM_ERROR", "the CRM failed with 500")

    poison = await insert(app, "Queued", "poison@example.com")
    async with running(url, Picky()), asyncpg.create_pool(url, min_size=1) as pool:
        await until(pool, "brevo_sync_status = 'Error' FROM contacts WHERE id = $1", poison)
    assert (await read(app, poison))["processing_error"] == "CRM_ERROR: the CRM failed with 500"


async def test_a_throttled_lane_pauses_and_no_contact_loses_an_attempt(app, url, crm):
    outage = Outage(ThrottledError("RATE_LIMITED", "too many requests", 0.5))
    crm.answer = outage
    loop = asyncio.get_running_loop()
    async with running(url, crm):
        contact = await insert(app, "Queued")
        await crm.reached(1)
        outage.over = True
        paused_at = loop.time()
        await crm.reached(2)
        assert loop.time() - paused_at >= 0.4
        await until(app, ALL_COMPLETE)
    assert (await read(app, contact))["attempts"] == 1
    assert await app.fetchval("SELECT breaker FROM crm_sync.lanes WHERE crm = 'brevo'") == "closed"


async def test_a_fault_of_ours_loses_nothing(app, url, crm, monkeypatch):
    async def fails(judge, contacts):
        failed.append(contacts)
        if len(failed) < 3:
            raise KeyError("a bug")
        return await outcomes(judge, contacts)

    failed: list[object] = []
    outcomes = Judge.outcomes
    monkeypatch.setattr(Judge, "outcomes", fails)
    async with running(url, crm, waits=QUICK_PROBES):
        await insert(app, "Queued")
        await until(app, ALL_COMPLETE)
    assert len(failed) == 3
    assert await app.fetchval("SELECT brevo_attempts FROM contacts") == 1


async def test_a_stop_lets_requests_end_and_gives_back_what_was_not_sent(app, url):
    crm = ScriptedCrm(concurrency=2)
    crm.gate.clear()
    await app.execute(MANY, 10)
    async with running(url, crm) as daemon:
        await crm.reached(2)
        daemon.stop.set()
        await asyncio.sleep(0)
        crm.gate.set()
    counts = dict(await app.fetch("SELECT brevo_sync_status::text, count(*) FROM contacts GROUP BY 1"))
    assert counts == {"Complete": 2, "Queued": 8}
    assert await app.fetchval("SELECT max(brevo_attempts) FROM contacts WHERE brevo_sync_status = 'Queued'") == 0
    assert await app.fetchval("SELECT count(*) FROM crm_sync.workers") == 0


async def test_a_stop_does_not_wait_for_a_crm_that_never_answers(app, url):
    crm = ScriptedCrm()
    crm.gate.clear()
    async with running(url, crm, shutdown_grace_s=0.1):
        contact = await insert(app, "Queued")
        await crm.reached(1)
    assert await pair(app, contact) == ("Queued", "Queued")
    assert (await read(app, contact))["attempts"] == 0


async def test_contacts_of_a_dead_worker_are_back_in_line_at_the_start(app, url, crm):
    contact = await insert(app, "Queued")
    await orphan(app)
    async with running(url, crm):
        await until(app, ALL_COMPLETE)
    assert (await read(app, contact))["attempts"] == 2


async def test_a_contact_that_outlived_all_its_workers_is_parked_with_that_reason(app, url, crm):
    contact = await insert(app, "Queued")
    await orphan(app, attempts=4)
    async with running(url, crm):
        await until(app, "brevo_sync_status = 'Error' FROM contacts")
    assert (await read(app, contact))["processing_error"].startswith("WORKER_DIED: ")


async def test_orphans_of_a_crm_without_credentials_are_looked_after_too(app, url, crm):
    await app.execute("INSERT INTO contacts (email, hubspot_sync_status) VALUES ('a@example.com', 'Queued')")
    await orphan(app, crm="hubspot")
    async with running(url, crm):
        await until(app, "hubspot_processing_status = 'Queued' AND hubspot_claimed_by IS NULL FROM contacts")


async def test_flips_that_no_trigger_saw_are_found_by_the_full_look(app, url, crm, monkeypatch):
    await app.execute("SET session_replication_role = replica")
    await app.execute(MANY, 300)
    await app.execute("INSERT INTO contacts (email, brevo_due_at) VALUES ('withdrawn@example.com', now())")
    assert await app.fetchval("SELECT count(*) FROM contacts WHERE brevo_due_at IS NOT NULL") == 1
    async with running(url, crm):
        await until(app, "count(*) = 300 FROM contacts WHERE brevo_sync_status = 'Complete'")
        await until(app, "bool_and(brevo_due_at IS NULL) FROM contacts")
    assert len(crm.requests) == 300


async def test_a_mapping_is_sql_over_the_row(app, url, crm, tmp_path):
    mapping = tmp_path / "mapping.toml"
    mapping.write_text(
        """
        [brevo]
        email = "lower(email)"
        FULLNAME = "concat_ws(' ', first_name, last_name)"
        SINCE = "created_at::date"
        SCORE = "length(first_name) * 1.5"
        VIP = "first_name = 'Ada'"
        """
    )
    let_in(url, MAPPING_FILE=str(mapping))
    async with running(url, crm, mapping_file=mapping):
        contact = await insert(app, "Queued", "ADA@Example.com")
        await until(app, ALL_COMPLETE)
    today = str(await app.fetchval("SELECT created_at::date::text FROM contacts"))
    assert crm.store[contact] == {
        "email": "ada@example.com",
        "FULLNAME": "Ada",
        "SINCE": today,
        "SCORE": 4.5,
        "VIP": True,
    }


async def test_what_is_being_claimed_when_the_worker_is_stopped_is_given_back(app, url, crm, monkeypatch):
    claim = Contacts.claim
    claiming = asyncio.Event()
    may_answer = asyncio.Event()

    async def claim_slowly(self, limit, token, **options):
        claimed = await claim(self, limit, token, **options)
        if claimed.contacts:
            claiming.set()
            await may_answer.wait()
        return claimed

    monkeypatch.setattr(Contacts, "claim", claim_slowly)
    async with running(url, crm) as daemon:
        contact = await insert(app, "Queued")
        await asyncio.wait_for(claiming.wait(), TIMEOUT_S)
        daemon.stop.set()
        await asyncio.sleep(0.2)  # the drain has begun, and must not end before the claim has
        assert await app.fetchval("SELECT count(*) FROM crm_sync.workers") == 1
        may_answer.set()
    assert await pair(app, contact) == ("Queued", "Queued")
    assert await app.fetchval("SELECT count(*) FROM crm_sync.workers") == 0
    assert crm.requests == []
