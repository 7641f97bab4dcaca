"""Deliveries: a poison contact is isolated in Error, an address is never twice in a request, and answers about the CRM mark no
contact.
"""

import asyncio
import math

import asyncpg
import pytest
from structlog.testing import capture_logs

from crm_sync import events
from crm_sync.core.outcome import Outcome
from crm_sync.core.waits import Waits
from crm_sync.errors import BatchRefusedError, OutageError, RefusedError, ThrottledError
from crm_sync.postgres import locks
from tests.harness import ALL_COMPLETE, ScriptedCrm, running, until
from tests.steps import insert, make_due, read

MANY = (
    "INSERT INTO contacts (email, first_name, brevo_sync_status) "
    "SELECT n || '@example.com', 'Ada', 'Queued' FROM generate_series(1, $1) AS n"
)


class Batching(ScriptedCrm):
    """Takes a hundred at once. `poison`: the addresses of contacts that spoil a request; `says`: its answer then."""

    def __init__(self, *poison: str, says: BaseException, concurrency: int = 2) -> None:
        super().__init__(batch_limit=100, concurrency=concurrency)
        self.poison = set(poison)
        self.says = says

    async def deliver(self, contacts):
        outcomes = await super().deliver(contacts)
        if self.poison & {contact.email for contact in contacts}:
            raise self.says
        return outcomes


async def test_one_poison_contact_of_a_hundred_is_alone_in_error_at_the_price_of_few_calls(app, url):
    crm = Batching("37@example.com", says=BatchRefusedError("REJECTED", "a field is wrong"))
    await app.execute(MANY, 100)
    async with running(url, crm):
        await until(app, "count(*) FILTER (WHERE brevo_sync_status IN ('Complete', 'Error')) = 100 FROM contacts")
    rows = await app.fetch("SELECT email, brevo_processing_error FROM contacts WHERE brevo_sync_status = 'Error'")
    assert [tuple(row) for row in rows] == [("37@example.com", "REJECTED: a field is wrong")]
    assert len(crm.requests) - 1 <= 2 * math.log2(100) + 1


async def test_a_contact_that_is_locked_in_the_crm_is_retried_and_the_others_delivered(app, url):
    crm = Batching("5@example.com", says=BatchRefusedError("LOCKED", "being changed", retried=True))
    await app.execute(MANY, 20)
    async with running(url, crm):
        await until(app, "count(*) FILTER (WHERE brevo_sync_status = 'Complete') = 19 FROM contacts")
        await until(app, "bool_or(brevo_processing_error = 'LOCKED: being changed' AND brevo_attempts = 1) FROM contacts")


@pytest.mark.parametrize("contacts", [60, 300])
async def test_a_contact_on_which_the_crm_fails_is_found_and_holds_up_no_other(app, url, contacts):
    crm = Batching("1@example.com", says=OutageError("CRM_ERROR", "500"), concurrency=1)
    await app.execute(MANY, contacts)
    async with running(url, crm):
        await until(app, "count(*) FILTER (WHERE brevo_sync_status = 'Complete') = $1 FROM contacts", contacts - 1)
        await until(app, "bool_or(email = '1@example.com' AND brevo_processing_error = 'CRM_ERROR: 500') FROM contacts")


async def test_what_timed_out_is_not_sent_again_at_once_in_halves(app, url):
    crm = Batching("1@example.com", says=OutageError("TIMEOUT", "no answer"))
    crm.gate.clear()
    await app.execute(MANY, 200)
    async with running(url, crm):
        await crm.reached(2)
        crm.gate.set()
        await until(app, "count(*) FILTER (WHERE brevo_processing_status <> 'Processing') = 200 FROM contacts")
        sizes = [len(request) for request in crm.requests if "1@example.com" in {contact.email for contact in request}]
    assert sizes[0] == 100
    assert all(size == 100 for size in sizes)


async def test_of_a_delivery_only_what_was_settled_is_finished(app, url):
    throttled = ThrottledError("RATE_LIMITED", "too many", 60.0)
    crm = ScriptedCrm(batch_limit=100)
    crm.answer = lambda contact: throttled if contact.email.startswith("1") else Outcome.delivered("7")
    await app.execute(MANY, 9)
    async with running(url, crm):
        await until(app, "count(*) FILTER (WHERE brevo_sync_status = 'Complete') = 8 FROM contacts")
        await until(app, "bool_or(email = '1@example.com' AND brevo_attempts = 0 AND brevo_claimed_by IS NULL) FROM contacts")
    assert len(crm.requests) == 1


async def test_a_refusal_of_everybody_among_outcomes_marks_nobody(app, url):
    refused = RefusedError("UNKNOWN_FIELD", "no such field")
    crm = ScriptedCrm(batch_limit=100)
    crm.answer = lambda contact: refused if contact.email.startswith("1") else Outcome.rejected("REJECTED", "no")
    await app.execute(MANY, 9)
    async with running(url, crm):
        await until(app, "count(*) FILTER (WHERE brevo_sync_status = 'Error') = 8 FROM contacts")
        await until(app, "bool_or(email = '1@example.com' AND brevo_attempts = 0 AND brevo_claimed_by IS NULL) FROM contacts")


# A client that fails.


@pytest.mark.parametrize("batch_limit", [1, 100])
async def test_what_a_client_raises_for_one_contact_is_that_contacts_and_told_once(app, url, batch_limit):
    def answer(contact):
        if contact.email == "37@example.com":
            raise KeyError(contact.email)
        return Outcome.delivered("7")

    crm = ScriptedCrm(batch_limit=batch_limit)
    crm.answer = answer
    await app.execute(MANY, 100)
    with capture_logs() as log:
        async with running(url, crm):
            await until(app, "count(*) FILTER (WHERE brevo_sync_status = 'Complete') = 99 FROM contacts")
            await until(app, "bool_or(brevo_processing_error LIKE 'CLIENT_FAILED: %' AND brevo_attempts = 1) FROM contacts")
    assert len(crm.requests) - 100 // batch_limit <= 2 * math.log2(100) + 1
    told = [entry for entry in log if entry["log_level"] == "error"]
    assert [entry["event"] for entry in told] == [events.CLIENT_FAILED]
    assert "KeyError" in told[0]["exception"]
    assert "in answer" in told[0]["exception"]
    assert "37@example.com" not in str(log)
    assert await app.fetchval("SELECT breaker FROM crm_sync.lanes WHERE crm = 'brevo'") == "closed"


@pytest.mark.parametrize("answers", [[], [None], ["delivered"], [Outcome.delivered("7")] * 2])
async def test_a_client_that_answers_what_is_no_entry_for_each_has_failed_and_the_others_go_on(app, url, answers):
    class Broken(ScriptedCrm):
        async def deliver(self, contacts):
            outcomes = await super().deliver(contacts)
            return answers if contacts[0].email == "1@example.com" else outcomes

    await app.execute(MANY, 20)
    async with running(url, Broken()):
        await until(app, "count(*) FILTER (WHERE brevo_sync_status = 'Complete') = 19 FROM contacts")
        await until(app, "bool_or(brevo_processing_error LIKE 'CLIENT_FAILED: %(TypeError)%') FROM contacts")


async def test_a_contact_with_which_the_client_always_fails_ends_in_error(app, url):
    crm = ScriptedCrm()
    crm.answer = lambda contact: 1 // 0
    await app.execute(MANY, 1)
    async with running(url, crm):
        for attempt in range(1, 5):
            await until(app, "bool_and(brevo_attempts = $1 AND brevo_claimed_by IS NULL) FROM contacts", attempt)
            await make_due(app)
            await app.execute("SELECT pg_notify('crm_sync', 'brevo')")
        await until(app, "bool_and(brevo_sync_status = 'Error' AND brevo_processing_error LIKE 'CLIENT_FAILED: %') FROM contacts")


# One address.


@pytest.fixture
async def twins(app: asyncpg.Connection):
    """Three rows with one address, flipped in this order; and another contact."""
    first = await insert(app, "Queued", "Ada@Example.com")
    second = await insert(app, "Queued", " ada@example.com")
    third = await insert(app, "Queued", "ADA@EXAMPLE.COM ")
    await app.execute("UPDATE contacts SET first_name = 'Third' WHERE id = $1", third)
    await insert(app, "Queued", "bob@example.com")
    return first, second, third


async def test_of_one_address_the_later_flip_is_sent_and_all_get_its_id(app, url, twins):
    crm = ScriptedCrm(batch_limit=100)
    async with running(url, crm):
        await until(app, ALL_COMPLETE)
    assert [len(request) for request in crm.requests] == [2]
    assert {contact.id for contact in crm.requests[0]} >= {twins[2]}
    assert {(await read(app, twin))["contact_id"] for twin in twins} == {f"crm-{twins[2]}"}


async def test_where_the_later_one_is_rejected_the_earlier_one_is_sent_itself(app, url, twins):
    crm = ScriptedCrm(batch_limit=100)
    crm.answer = lambda contact: (
        Outcome.rejected("REJECTED", "no") if contact.fields["FIRSTNAME"] == "Third" else Outcome.delivered("7")
    )
    async with running(url, crm):
        await until(app, "count(*) FILTER (WHERE brevo_sync_status = 'Complete') = 3 FROM contacts")
    states = [((await read(app, twin))["sync_status"], (await read(app, twin))["contact_id"]) for twin in twins]
    assert states == [("Complete", "7"), ("Complete", "7"), ("Error", None)]


@pytest.mark.parametrize("batch_limit", [1, 100])
async def test_one_address_is_never_in_two_requests_at_once(app, url, batch_limit):
    crm = ScriptedCrm(batch_limit=batch_limit)
    crm.gate.clear()
    async with running(url, crm):
        first = await insert(app, "Queued", "ada@example.com")
        await crm.reached(1)
        second = await insert(app, "Queued", "Ada@example.com")
        third = await insert(app, "Queued", "ADA@example.com")
        await insert(app, "Queued", "bob@example.com")
        await crm.reached(2)
        await until(app, "count(*) FILTER (WHERE brevo_claimed_by IS NOT NULL) = 4 FROM contacts")
        assert {contact.email for request in crm.requests for contact in request} == {"ada@example.com", "bob@example.com"}
        crm.gate.set()
        await until(app, ALL_COMPLETE)
    sent = [contact.id for request in crm.requests for contact in request if "ada" in contact.email.lower()]
    assert sent[0] == first
    assert sent[-1] == third
    assert second in sent or (await read(app, second))["contact_id"] == f"crm-{third}"


async def test_over_all_workers_one_address_is_in_one_request(app, url):
    one, other = ScriptedCrm(batch_limit=25), ScriptedCrm(batch_limit=25)
    one.gate.clear()
    other.gate.clear()
    async with running(url, one), running(url, other):
        await insert(app, "Queued", "ada@example.com")
        await until_either_has(one, other)
        await insert(app, "Queued", "Ada@example.com")
        await insert(app, "Queued", "bob@example.com")
        await until_sent(one, other, "bob@example.com")
        addresses = [contact.email.lower() for crm in (one, other) for request in crm.requests for contact in request]
        assert sorted(addresses) == ["ada@example.com", "bob@example.com"]
        one.gate.set()
        other.gate.set()
        await until(app, ALL_COMPLETE)
        locks = "count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1"
        await until(app, locks.replace("count(*)", "count(*) = 0"))


async def until_either_has(*crms: ScriptedCrm) -> None:
    async with asyncio.timeout(10):
        while not any(crm.requests for crm in crms):  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def until_sent(one: ScriptedCrm, other: ScriptedCrm, email: str) -> None:
    async with asyncio.timeout(10):
        while email not in {c.email for crm in (one, other) for request in crm.requests for c in request}:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_an_address_that_another_worker_has_waits_a_moment_and_uses_no_attempt(app, other_app, url):
    crm = ScriptedCrm(batch_limit=25)
    await other_app.execute("SELECT pg_advisory_lock($1, 4711)", locks.WORKER)  # another worker: so it is not alone
    await other_app.execute("SELECT pg_advisory_lock(hashtextextended('brevo ada@example.com', $1))", locks.ADDRESS_SEED)
    async with running(url, crm, waits=Waits(address_busy_s=0.05)):
        contact = await insert(app, "Queued", " Ada@example.com")
        await until(app, "bool_and(brevo_due_at > brevo_flipped_at AND brevo_claimed_by IS NULL) FROM contacts")
        assert crm.requests == []
        await other_app.execute("SELECT pg_advisory_unlock_all()")
        await until(app, ALL_COMPLETE)
    assert len(crm.requests) == 1
    assert (await read(app, contact))["attempts"] == 1
