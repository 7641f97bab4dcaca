"""The last state wins, with several workers too: after a takeover, for rows with one address, and when a key
changes in flight.
"""

import asyncio
import signal
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from crm_sync import events
from crm_sync.core.outcome import Outcome
from crm_sync.core.waits import Waits
from crm_sync.postgres import locks
from crm_sync.sandbox.server import Call, Fault, Hold, is_about_contacts
from tests.faults.promise import said
from tests.faults.real_worker import working
from tests.harness import ALL_COMPLETE, TIMEOUT_S, ScriptedCrm, running, until
from tests.process import environment, process
from tests.steps import insert, read, write

ADDRESS = "ada@example.com"
QUICK = Waits(tick_s=0.1, address_busy_s=0.05)
AWAY = replace(QUICK, first_reconnect_s=5.0, longest_reconnect_s=5.0)  # for some seconds, after its session is lost
ALIVE = f"FROM pg_locks WHERE locktype = 'advisory' AND classid = {locks.WORKER} AND granted"
SESSION_OF = f"FROM pg_stat_activity WHERE pid IN (SELECT pid {ALIVE} AND objid = $1::bigint::oid)"
PUT_BACK = "bool_or(brevo_sync_status = 'Queued' AND brevo_claimed_by IS NULL AND brevo_due_at > brevo_flipped_at) FROM contacts"


class Record:
    """What a CRM holds for one address, however many clients it has: the first name that arrived last."""

    def __init__(self) -> None:
        self.first_names: list[str] = []
        self.under_way = 0
        self.most_under_way = 0


class SlowCrm(ScriptedCrm):
    """Applies a request when its gate opens."""

    def __init__(self, record: Record) -> None:
        super().__init__()
        self.record = record
        self.answer = self._apply

    async def deliver(self, contacts):
        self.record.under_way += 1
        self.record.most_under_way = max(self.record.most_under_way, self.record.under_way)
        try:
            return await super().deliver(contacts)
        finally:
            self.record.under_way -= 1

    def _apply(self, contact):
        self.record.first_names.append(contact.fields["FIRSTNAME"])
        return Outcome.delivered("record-1")


@pytest.fixture
def record() -> Record:
    return Record()


@asynccontextmanager
async def two_workers(url: str, app: asyncpg.Connection, record: Record, waits: Waits = QUICK, client: type[SlowCrm] = SlowCrm):
    """The first one has OLD in a request that its gate holds back. Yields the daemons and their clients."""
    one, other = client(record), client(record)
    one.gate.clear()
    async with running(url, one, waits=waits) as first:
        await app.execute("UPDATE contacts SET first_name = 'OLD', brevo_sync_status = 'Queued'")
        await one.reached(1)
        async with running(url, other, waits=QUICK) as second:
            await until(app, f"count(*) = 2 {ALIVE}")
            try:
                yield first, second, one, other
            finally:
                one.gate.set()


async def lose_session(app: asyncpg.Connection, worker: int) -> None:
    await app.execute(f"SELECT pg_terminate_backend(pid) {SESSION_OF}", worker)
    await until(app, f"count(*) = 0 {SESSION_OF}", worker)


async def owner(app: asyncpg.Connection, contact: Any) -> int:
    return (await read(app, contact))["claimed_by"] >> 32


async def taken_over(app: asyncpg.Connection, contact: Any, other: ScriptedCrm) -> None:
    """The first worker loses its session with OLD still in its request, and the other one delivers NEW."""
    worker = await owner(app, contact)
    await app.execute("UPDATE contacts SET first_name = 'NEW', brevo_sync_status = 'Queued'")
    await lose_session(app, worker)
    await other.reached(1)
    await until(app, ALL_COMPLETE)


async def put_back(app: asyncpg.Connection, crm: SlowCrm, contact: Any) -> None:
    """It is flipped, fails, and waits for its retry; from then on the CRM takes what it gets."""
    crm.answer = lambda _: Outcome.failed("LOCKED", "being changed")
    await write(app, contact, sync_status="Queued")
    await until(app, "count(*) FILTER (WHERE brevo_processing_error IS NOT NULL) = 1 FROM contacts")
    crm.answer = crm._apply


async def retried_after_the_other(app: asyncpg.Connection, contact: Any) -> None:
    """Its retry is due once the other one is delivered."""
    await until(app, "count(*) FILTER (WHERE brevo_sync_status = 'Complete') = 1 FROM contacts")
    await app.execute("SET session_replication_role = replica")  # the trigger would turn it into a flip
    await app.execute("UPDATE contacts SET brevo_due_at = clock_timestamp() WHERE id = $1", contact)
    await app.execute("INSERT INTO crm_sync.brevo_line SELECT brevo_due_at, id FROM contacts WHERE id = $1", contact)
    await app.execute("SELECT pg_notify('crm_sync', 'brevo')")


async def test_what_lands_after_another_worker_has_taken_the_contact_over_is_sent_over(app, url, record, log):
    contact = await insert(app)
    async with two_workers(url, app, record, AWAY) as (_, _, one, other):
        await taken_over(app, contact, other)
        assert record.first_names == ["NEW"]
        one.gate.set()
        await said(log, events.CONTACTS_OVERWRITTEN)
        await other.reached(2)
        await until(app, ALL_COMPLETE)
    assert record.first_names == ["NEW", "OLD", "NEW"]


async def test_what_may_have_landed_without_an_answer_is_sent_over_too(app, url, record, log):
    contact = await insert(app)
    async with two_workers(url, app, record, AWAY) as (_, _, one, other):
        one.answer = lambda contact: (one.record.first_names.append("OLD"), Outcome.failed("TIMEOUT", "no answer"))[1]
        await taken_over(app, contact, other)
        one.gate.set()
        await other.reached(2)
        await until(app, ALL_COMPLETE)
    assert record.first_names == ["NEW", "OLD", "NEW"]


async def test_the_row_that_is_to_be_sent_over_is_waited_for_while_the_application_has_it_locked(app, other_app, url, record):
    contact = await insert(app)
    async with two_workers(url, app, record, AWAY) as (_, _, one, other):
        await taken_over(app, contact, other)
        async with other_app.transaction():
            await other_app.execute("SELECT FROM contacts FOR UPDATE")
            one.gate.set()
            async with asyncio.timeout(10):
                while len(record.first_names) < 2:  # noqa: ASYNC110 (a CRM has no events)
                    await asyncio.sleep(0.005)
        await other.reached(2)
        await until(app, ALL_COMPLETE)
    assert record.first_names == ["NEW", "OLD", "NEW"]


async def test_a_contact_that_is_withdrawn_by_then_is_not_sent_over(app, url, record, log):
    contact = await insert(app)
    async with two_workers(url, app, record, AWAY) as (_, _, one, other):
        await taken_over(app, contact, other)
        await write(app, contact, sync_status="Skipped")
        one.gate.set()
        await said(log, events.CONTACTS_LOST)
    assert record.first_names == ["NEW", "OLD"]
    assert (await read(app, contact))["sync_status"] == "Skipped"


async def test_a_contact_that_is_deleted_and_inserted_again_in_flight_waits_for_the_request_of_its_address(app, url, record):
    """The worker with the request is stopping, so the other one claims the new row."""
    contact = await insert(app)
    async with two_workers(url, app, record) as (first, _, one, other):
        first.stop.set()
        async with app.transaction():
            await app.execute("DELETE FROM contacts")
            await app.execute(
                "INSERT INTO contacts (id, email, first_name, brevo_sync_status) VALUES ($1, $2, 'NEW', 'Queued')",
                contact,
                ADDRESS,
            )
        await until(app, PUT_BACK)
        assert other.requests == []
        one.gate.set()
        await until(app, ALL_COMPLETE)
    assert record.first_names[-1] == "NEW"
    assert record.most_under_way == 1


async def test_two_rows_of_one_address_are_never_in_two_requests_and_the_later_flip_is_sent_last(app, url, record):
    await insert(app)
    async with two_workers(url, app, record) as (first, _, one, other):
        first.stop.set()
        later = await insert(app, "New", " Ada@EXAMPLE.com")
        await app.execute("UPDATE contacts SET first_name = 'NEW', brevo_sync_status = 'Queued' WHERE id = $1", later)
        await until(app, PUT_BACK)
        assert other.requests == []
        one.gate.set()
        await until(app, ALL_COMPLETE)
    assert record.first_names == ["OLD", "NEW"]
    assert record.most_under_way == 1
    await until(app, "count(*) = 0 FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1")


async def test_a_twin_that_is_retried_after_a_later_flip_is_sent_over(app, url, record, log):
    """The table shows it: it was put back, and another row of its record was flipped after it."""
    first, second = await insert(app), await insert(app)
    crm = SlowCrm(record)
    async with running(url, crm, waits=QUICK):
        await app.execute("UPDATE contacts SET first_name = 'OLD', brevo_sync_status = 'Queued' WHERE id = $1", first)
        await until(app, "count(*) FILTER (WHERE brevo_sync_status = 'Complete') = 1 FROM contacts")
        await put_back(app, crm, first)
        await app.execute("UPDATE contacts SET first_name = 'NEW', brevo_sync_status = 'Queued' WHERE id = $1", second)
        await retried_after_the_other(app, first)
        await said(log, events.CONTACTS_OVERWRITTEN)
        await until(app, ALL_COMPLETE)
    assert record.first_names == ["OLD", "NEW", "OLD", "NEW"]


async def test_a_contact_whose_key_is_changed_in_flight_is_delivered_under_its_new_key(app, url, record):
    await insert(app)
    crm = SlowCrm(record)
    crm.gate.clear()
    async with running(url, crm, waits=QUICK):
        await app.execute("UPDATE contacts SET first_name = 'OLD', brevo_sync_status = 'Queued'")
        await crm.reached(1)
        renamed = uuid4()
        await app.execute("UPDATE contacts SET id = $1", renamed)
        crm.gate.set()
        await until(app, ALL_COMPLETE)
        assert crm.requests[-1][0].id == renamed
        await app.execute("UPDATE contacts SET first_name = 'NEW', brevo_sync_status = 'Queued'")
        await until(app, ALL_COMPLETE)
    assert record.first_names == ["OLD", "OLD", "NEW"]


async def test_a_worker_that_stops_after_such_a_change_leaves_the_contact_to_the_next(app, url, record, log):
    await insert(app)
    crm = SlowCrm(record)
    crm.gate.clear()
    async with running(url, crm, waits=replace(QUICK, tick_s=3600.0)):
        await app.execute("UPDATE contacts SET first_name = 'OLD', brevo_sync_status = 'Queued'")
        await crm.reached(1)
        await app.execute("UPDATE contacts SET id = gen_random_uuid()")
        crm.gate.set()
        await said(log, events.CONTACTS_LOST)
    assert await app.fetchval("SELECT count(*) FROM crm_sync.workers") == 1
    async with running(url, crm, waits=QUICK):
        await until(app, ALL_COMPLETE)


async def test_a_contact_whose_key_was_changed_is_put_back_once_the_application_lets_go_of_its_row(
    app, other_app, url, record, log
):
    await insert(app)
    crm = SlowCrm(record)
    crm.gate.clear()
    async with running(url, crm, waits=replace(QUICK, statement_timeout_s=1.0)):
        await app.execute("UPDATE contacts SET first_name = 'OLD', brevo_sync_status = 'Queued'")
        await crm.reached(1)
        await app.execute("UPDATE contacts SET id = gen_random_uuid()")
        async with other_app.transaction():
            await other_app.execute("SELECT FROM contacts FOR UPDATE")
            crm.gate.set()
            await said(log, events.CONTACTS_LOST)
        await until(app, ALL_COMPLETE)


async def test_a_row_of_a_backlog_that_a_fresh_flip_of_its_address_overtakes_has_not_the_last_word(app, url, record):
    """A quarter of each claim goes to fresh flips. Here OLD is the last of the backlog."""
    await app.execute(
        "INSERT INTO contacts (email, brevo_sync_status) SELECT n || '@x.org', 'Queued' FROM generate_series(1, 200) AS n"
    )
    await app.execute("INSERT INTO contacts (email, first_name, brevo_sync_status) VALUES ($1, 'OLD', 'Queued')", ADDRESS)
    crm = SlowCrm(record)
    crm.concurrency = 2
    crm.answer = lambda contact: crm._apply(contact) if contact.filled else Outcome.delivered(contact.email)
    crm.gate.clear()
    async with running(url, crm, waits=QUICK):
        await crm.reached(2)
        await app.execute(
            "INSERT INTO contacts (email, first_name, brevo_sync_status) VALUES ($1, 'NEW', 'Queued')", ADDRESS.upper()
        )
        crm.gate.set()
        await crm.reached(203)
        await until(app, ALL_COMPLETE)
    assert record.first_names == ["NEW", "OLD", "NEW"]


async def test_a_row_that_the_application_had_locked_when_its_turn_came_has_not_the_last_word(app, other_app, url, record):
    crm = SlowCrm(record)
    old = await app.fetchval(
        "INSERT INTO contacts (email, first_name, brevo_sync_status) VALUES ($1, 'OLD', 'Queued') RETURNING id", ADDRESS
    )
    holding = other_app.transaction()
    await holding.start()
    await other_app.execute("SELECT FROM contacts WHERE id = $1 FOR UPDATE", old)
    async with running(url, crm, waits=QUICK):
        await app.execute(
            "INSERT INTO contacts (email, first_name, brevo_sync_status) VALUES ($1, 'NEW', 'Queued')", ADDRESS.upper()
        )
        await crm.reached(1)
        await holding.rollback()
        await crm.reached(3)
        await until(app, ALL_COMPLETE)
    assert record.first_names == ["NEW", "OLD", "NEW"]


async def test_a_flip_that_is_committed_after_a_later_one_has_not_the_last_word(app, other_app, url, record):
    crm = SlowCrm(record)
    committing = other_app.transaction()
    await committing.start()
    await other_app.execute(
        "INSERT INTO contacts (email, first_name, brevo_sync_status) VALUES ($1, 'OLD', 'Queued')", ADDRESS.upper()
    )
    async with running(url, crm, waits=QUICK):
        await app.execute("INSERT INTO contacts (email, first_name, brevo_sync_status) VALUES ($1, 'NEW', 'Queued')", ADDRESS)
        await crm.reached(1)
        await committing.commit()
        await crm.reached(3)
        await until(app, ALL_COMPLETE)
    assert record.first_names == ["NEW", "OLD", "NEW"]


async def test_a_row_that_was_locked_while_another_worker_sent_a_later_flip_has_not_the_last_word(app, other_app, url, record):
    """Nothing is in line, so no worker has a backlog. The one that sent NEW has a request in flight, and is stopping."""
    one, other = SlowCrm(record), SlowCrm(record)
    one.answer = lambda contact: one._apply(contact) if contact.filled else Outcome.delivered(contact.email)
    old = await app.fetchval(
        "INSERT INTO contacts (email, first_name, brevo_sync_status) VALUES ($1, 'OLD', 'Queued') RETURNING id", ADDRESS
    )
    holding = other_app.transaction()
    await holding.start()
    await other_app.execute("SELECT FROM contacts WHERE id = $1 FOR UPDATE", old)
    async with running(url, one, waits=QUICK) as first:
        await app.execute(
            "INSERT INTO contacts (email, first_name, brevo_sync_status) VALUES ($1, 'NEW', 'Queued')", ADDRESS.upper()
        )
        await until(app, "count(*) FILTER (WHERE brevo_sync_status = 'Complete') = 1 FROM contacts")
        one.gate.clear()
        await app.execute("INSERT INTO contacts (email, brevo_sync_status) VALUES ('bob@example.com', 'Queued')")
        await one.reached(2)
        async with running(url, other, waits=QUICK):
            await until(app, f"count(*) = 2 {ALIVE}")
            first.stop.set()
            await holding.rollback()
            await other.reached(2)
            one.gate.set()
            await until(app, ALL_COMPLETE)
    assert record.first_names == ["NEW", "OLD", "NEW"]


NEW_IS_DELIVERED = "bool_or(first_name = 'NEW' AND brevo_sync_status = 'Complete') FROM contacts"


async def line_up(app: asyncpg.Connection, contacts: int) -> Any:
    """A backlog, of which OLD is the last. Returns its key."""
    await app.execute(
        "INSERT INTO contacts (email, brevo_sync_status) SELECT n || '@x.org', 'Queued' FROM generate_series(1, $1) AS n",
        contacts,
    )
    return await app.fetchval(
        "INSERT INTO contacts (email, first_name, brevo_sync_status) VALUES ($1, 'OLD', 'Queued') RETURNING id", ADDRESS
    )


async def flip_fresh(app: asyncpg.Connection) -> None:
    await app.execute("INSERT INTO contacts (email, first_name, brevo_sync_status) VALUES ($1, 'NEW', 'Queued')", ADDRESS.upper())


class Backlogged(SlowCrm):
    """Two requests at a time. Once it has NEW, others wait for the gate."""

    def __init__(self, record: Record) -> None:
        super().__init__(record)
        self.concurrency = 2
        self.answer = self._answer

    def _answer(self, contact):
        if contact.filled:
            self.gate.clear()
            return self._apply(contact)
        return Outcome.delivered(contact.email)


async def test_what_a_worker_that_has_ended_sent_out_of_turn_has_the_last_word(app, url, record, log):
    old = await line_up(app, 200)
    first, second = Backlogged(record), SlowCrm(record)
    second.answer = lambda contact: second._apply(contact) if contact.filled else Outcome.delivered(contact.email)
    first.gate.clear()
    async with running(url, first, waits=QUICK) as daemon:
        await first.reached(2)
        await flip_fresh(app)
        first.gate.set()
        await until(app, NEW_IS_DELIVERED)
        daemon.stop.set()
        first.gate.set()
    assert (await read(app, old))["attempts"] == 0
    async with running(url, second, waits=QUICK):
        await said(log, events.CONTACTS_OVERWRITTEN)
        await until(app, ALL_COMPLETE)
    assert record.first_names == ["NEW", "OLD", "NEW"]


async def test_what_a_worker_that_was_killed_sent_out_of_turn_has_the_last_word(app, url, brevo):
    """Brevo holds a request until NEW is in line, and all that follow NEW."""
    before, after = Hold(), Hold()
    seen: list[str] = []

    def follows(call: Call) -> bool:
        seen.append(str(call.body))
        return is_about_contacts(call) and any("NEW" in body for body in seen[:-1])

    old = await line_up(app, 400)
    brevo.next_faults.append(Fault(hold=before))
    brevo.standing_faults.append(Fault(follows, hold=after))
    async with process(environment(url, brevo)) as victim:
        await asyncio.wait_for(before.reached.wait(), TIMEOUT_S)
        await flip_fresh(app)
        before.release()
        await until(app, NEW_IS_DELIVERED)
        victim.send_signal(signal.SIGKILL)
        await victim.wait()
    assert (await read(app, old))["attempts"] == 0
    brevo.standing_faults.clear()
    after.release()
    async with working(environment(url, brevo)) as worker:
        await said(worker.log, events.CONTACTS_OVERWRITTEN)
        await until(app, ALL_COMPLETE)
    names = [word for request in brevo.requests for word in ("NEW", "OLD") if word in str(request.body)]
    assert names == ["NEW", "OLD", "NEW"]
