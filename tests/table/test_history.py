"""History: it says what the finish wrote, and if it cannot be written, contacts are delivered anyway."""

import asyncio
from dataclasses import replace
from uuid import uuid4

import pytest
import structlog

from crm_sync import events
from crm_sync.adoption.table import AdoptionRequest
from crm_sync.core.history import History
from crm_sync.core.outcome import Finish, Kind, Receipt
from crm_sync.core.text import name_of
from crm_sync.core.waits import USUAL
from crm_sync.errors import DatabaseTroubleError
from crm_sync.table.finishing import MOST_UNRECORDED
from tests.harness import until
from tests.roles import WORKER, let_in, migrate
from tests.steps import insert, open_worker, read, write

SENT = Receipt(12, 200, "req-1")


@pytest.fixture
def logged():
    with structlog.testing.capture_logs() as captured:
        yield captured


async def lines(app, columns="*"):
    return [dict(row) for row in await app.fetch(f"SELECT {columns} FROM crm_sync.deliveries ORDER BY at")]


async def test_a_delivery_is_a_line_with_its_request(app, worker):
    contact = await insert(app, "Queued")
    (claimed,) = await worker.claim()
    await worker.finish(claimed, Kind.DELIVERED, remote_id="7", sent=True, receipt=SENT)
    [line] = await lines(app)
    assert abs((line.pop("at") - (await read(app, contact))["synced_at"]).total_seconds()) < 1
    assert 0 <= line.pop("waited_ms") < 60_000
    assert line == {
        "crm": "brevo",
        "key": str(contact),
        "operation": "upsert",
        "outcome": "delivered",
        "code": None,
        "reason": None,
        "attempt": 1,
        "took_ms": 12,
        "status": 200,
        "request_id": "req-1",
        "remote_id": "7",
        "worker": 1,
        "trace": None,
    }


@pytest.mark.parametrize("kind", [Kind.RETRY, Kind.REJECTED])
async def test_a_failure_is_a_line_with_the_reason_of_the_row(app, worker, kind):
    contact = await insert(app, "Queued")
    (claimed,) = await worker.claim()
    await worker.finish(claimed, kind, error="REJECTED: it says: no", delay_s=60.0, sent=True, receipt=Receipt(5, 400))
    [line] = await lines(app, "at, outcome, code, reason, status, took_ms, request_id")
    line.pop("at")
    assert list(line.values()) == [kind, "REJECTED", "it says: no", 400, 5, None]
    assert (await read(app, contact))["processing_error"] == "REJECTED: it says: no"


# Which outcomes have a line.


async def test_what_was_only_put_back_has_none(app, worker):
    await insert(app, "Queued")
    (claimed,) = await worker.claim()
    assert await worker.finish(claimed, Kind.DEFERRED)
    assert await lines(app) == []


async def test_what_was_put_back_after_a_request_has_one_whose_time_may_not_be_known(app, worker):
    await insert(app, "Queued")
    for finish in ({"receipt": Receipt(7)}, {}):
        (claimed,) = await worker.claim()
        assert await worker.finish(claimed, Kind.DEFERRED, sent=True, **finish)
    assert [(line["outcome"], line["took_ms"], line["status"]) for line in await lines(app)] == [
        ("deferred", 7, None),
        ("deferred", None, None),
    ]


async def test_an_orphan_has_one_of_the_worker_that_died(app, worker, other_worker):
    await insert(app, "Queued")
    (claimed,) = await worker.claim()
    assert await other_worker.finish(claimed, Kind.ORPHANED)
    assert [(line["outcome"], line["worker"], line["attempt"]) for line in await lines(app)] == [("orphaned", 1, 1)]


async def test_a_contact_that_was_flipped_again_or_withdrawn_meanwhile_has_the_line_of_what_was_sent(app, worker):
    for word in ("Queued", "Skipped"):
        contact = await insert(app, "Queued", f"{word}@example.com")
        [claimed] = [one for one in await worker.claim() if one.id == contact]
        await write(app, contact, sync_status=word)
        assert await worker.finish(claimed, Kind.REJECTED, error="REJECTED: no", sent=True, receipt=SENT)
    found = await lines(app, "at, outcome, code, attempt, waited_ms")
    assert [(line["outcome"], line["code"], line["attempt"]) for line in found] == [("rejected", "REJECTED", 1)] * 2
    assert all(0 <= line["waited_ms"] < 60_000 for line in found)


@pytest.mark.parametrize(
    ("history", "expected"),
    [(History.ALL, 3), (History.FAILURES, 2), (History.OFF, 0)],
)
async def test_the_setting_says_whose_lines_are_written(app, url, history, expected):
    """A delivery that lacks a field is a kind of failure."""
    async with open_worker(url, 1, history=history) as worker:
        for number in range(3):
            await insert(app, "Queued", f"{number}@example.com")
        whole, partly, refused = await worker.claim()
        await worker.finish(whole, Kind.DELIVERED)
        await worker.finish(partly, Kind.DELIVERED, error="FIELD_NOT_SENT: the city")
        await worker.finish(refused, Kind.REJECTED, error="REJECTED: no")
    assert len(await lines(app)) == expected


@pytest.mark.parametrize("of_row", ["DELETE FROM contacts", "UPDATE contacts SET brevo_claimed_by = 7 << 20"])
async def test_what_was_sent_and_has_no_row_any_more_is_lost_once(app, worker, of_row):
    contact = await insert(app, "Queued")
    (claimed,) = await worker.claim()
    await app.execute(of_row)
    finish = Finish(contact, claimed.token, Kind.DELIVERED, None, "7", sent=True, attempts=1, receipt=SENT)
    assert (await worker.contacts.finish([finish])).written == []
    for _ in range(2):
        assert await worker.contacts.record_lost([finish]) == 0
    [line] = await lines(app)
    assert (line["outcome"], line["key"], line["status"], line["attempt"]) == ("lost", str(contact), 200, 1)


async def test_what_was_finished_by_a_statement_whose_answer_was_lost_is_not_lost(app, worker):
    contact = await insert(app, "Queued")
    (claimed,) = await worker.claim()
    finish = Finish(contact, claimed.token, Kind.DELIVERED, None, "7", sent=True, attempts=1, receipt=SENT)
    await worker.contacts.finish([finish])
    assert (await worker.contacts.finish([finish])).written == []
    await worker.contacts.record_lost([finish])
    assert [line["outcome"] for line in await lines(app)] == ["delivered"]


async def test_nor_is_what_a_statement_without_history_has_written(app, worker, monkeypatch):
    """History was locked, say, so its lines were to follow; then the answer was lost."""
    contact = await insert(app, "Queued")
    (claimed,) = await worker.claim()
    finish = Finish(contact, claimed.token, Kind.DELIVERED, None, "7", sent=True, attempts=1, receipt=SENT)
    fetch = worker.database.fetch_briefly

    async def answer_is_lost(*arguments):
        await fetch(*arguments)
        raise DatabaseTroubleError("connection was closed in the middle of operation")

    monkeypatch.setattr(worker.database, "fetch_briefly", answer_is_lost)
    with pytest.raises(DatabaseTroubleError):
        await worker.contacts._finishing.finish([finish], apart=True)
    monkeypatch.undo()
    assert (await worker.contacts.finish([finish])).written == []
    for _ in range(2):
        await worker.contacts.record_lost([finish])
    (line,) = await lines(app)
    assert (line["outcome"], line["key"], line["status"], line["remote_id"]) == ("delivered", str(contact), 200, "7")


async def test_what_was_never_sent_is_not_lost(app, worker):
    contact = await insert(app, "Queued")
    (claimed,) = await worker.claim()
    await worker.contacts.record_lost([Finish(contact, claimed.token, Kind.REJECTED, "INVALID_EMAIL: none")])
    assert await lines(app) == []


async def test_a_row_that_refuses_what_is_to_be_written_has_a_line_all_the_same(app, worker):
    await app.execute("ALTER TABLE contacts ADD CONSTRAINT none CHECK (brevo_contact_id IS NULL)")
    await insert(app, "Queued")
    (claimed,) = await worker.claim()
    assert await worker.finish(claimed, Kind.DELIVERED, remote_id="7", sent=True, receipt=SENT)
    [line] = await lines(app)
    assert (line["outcome"], line["code"], line["status"]) == ("rejected", "ROW_REFUSED", 200)
    assert worker.contacts.recording.dropped == 0


async def test_a_row_that_refuses_every_write_has_a_line_all_the_same(app, worker):
    await insert(app, "Queued")
    (claimed,) = await worker.claim()
    await app.execute("ALTER TABLE contacts ADD CONSTRAINT none CHECK (brevo_claimed_by IS NOT NULL) NOT VALID")
    assert not await worker.finish(claimed, Kind.DELIVERED, remote_id="7", sent=True, receipt=SENT)
    [line] = await lines(app)
    assert (line["outcome"], line["code"], line["status"]) == ("lost", "ROW_REFUSED", 200)


# Names.


@pytest.mark.parametrize("key", ["ada@example.com", "ada%40example.com", "a <ada@example.com>", "@", "plain", "50%40", "é@x"])
async def test_a_key_with_an_address_in_it_is_named_as_the_log_names_it(app, key):
    assert await app.fetchval("SELECT crm_sync.key_name($1)", key) == name_of(key)


async def test_a_key_that_is_an_address_stands_in_no_line(owner, empty_url):
    await owner.execute("CREATE TABLE t (id text PRIMARY KEY, email text, first_name text)")
    migrate(empty_url, AdoptionRequest(table="t"))
    async with open_worker(empty_url, 1) as worker:
        for key in ("ada@example.com", "1815"):
            await owner.execute("INSERT INTO t (id, email, brevo_sync_status) VALUES ($1, 'x@example.com', 'Queued')", key)
            (claimed,) = await worker.claim()
            assert await worker.finish(claimed, Kind.DELIVERED, remote_id=key)
    found = await lines(owner)
    assert [(line["key"], line["remote_id"]) for line in found] == [(name_of("ada@example.com"),) * 2, ("1815", "1815")]


# If history cannot be written.

TODAY = "mod((clock_timestamp() AT TIME ZONE 'UTC')::date - DATE '1970-01-01', 32)"


async def slot(app):
    return f"crm_sync.history_{await app.fetchval(f'SELECT {TODAY}'):02}"


async def without_right(app):
    await app.execute(f"REVOKE INSERT ON crm_sync.history FROM {WORKER}")


async def without_slot(app):
    await app.execute(f"DROP TABLE {await slot(app)}")


async def without_table(app):
    await app.execute("DROP TABLE crm_sync.history CASCADE")


async def with_a_constraint(app):
    await app.execute(f"ALTER TABLE {await slot(app)} ADD CHECK (crm <> 'brevo')")


async def with_a_trigger(app):
    await app.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$; "
        f"CREATE TRIGGER refuse BEFORE INSERT ON {await slot(app)} FOR EACH ROW EXECUTE FUNCTION refuse()"
    )


@pytest.mark.parametrize("broken", [without_right, without_slot, without_table, with_a_constraint, with_a_trigger])
async def test_contacts_are_delivered_all_the_same_and_the_loss_is_counted_and_told_once(app, url, broken, logged):
    async with open_worker(url, 1) as worker:
        for number in range(4):
            await insert(app, "Queued", f"{number}@example.com")
        claimed = await worker.claim()
        await broken(app)
        finishes = [Finish(one.id, one.token, Kind.DELIVERED, sent=True, receipt=SENT) for one in claimed]
        for some in (finishes[:2], finishes[2:]):
            finished = await worker.contacts.finish(some)
            assert (finished.written, finished.unrecorded) == (some, 2)
        assert worker.contacts.recording.dropped == 4
    assert await app.fetchval("SELECT bool_and(brevo_sync_status = 'Complete') FROM contacts")
    [told] = [event for event in logged if event["event"] == events.HISTORY_NOT_WRITTEN]
    assert told["crm"] == "brevo"
    assert "still delivered" in told["note"]


async def test_history_is_written_again_when_it_can_be(app, url, logged):
    async with open_worker(url, 1, replace(USUAL, history_again_s=0.0)) as worker:
        for number in range(2):
            await insert(app, "Queued", f"{number}@example.com")
        first, second = await worker.claim()
        await without_right(app)
        await worker.finish(first, Kind.DELIVERED)
        let_in(url)
        await worker.finish(second, Kind.DELIVERED)
    assert [line["key"] for line in await lines(app)] == [str(second.id)]
    assert [event.get("lacks") for event in logged if event["event"].startswith("history")] == [None, 1]


async def test_a_slot_that_somebody_has_locked_holds_up_no_delivery_and_its_lines_come_later(app, other_app, url):
    async with open_worker(url, 1, replace(USUAL, history_again_s=0.0)) as worker:
        for number in range(2):
            await insert(app, "Queued", f"{number}@example.com")
        first, second = await worker.claim()
        async with other_app.transaction():
            await other_app.execute(f"LOCK TABLE {await slot(app)}")
            finished = await worker.contacts.finish([Finish(first.id, first.token, Kind.DELIVERED)])
            assert (len(finished.written), finished.unrecorded) == (1, 0)
            assert await app.fetchval("SELECT brevo_sync_status FROM contacts WHERE id = $1", first.id) == "Complete"
        await worker.finish(second, Kind.DELIVERED)
    assert {line["key"] for line in await lines(app)} == {str(first.id), str(second.id)}


async def test_lines_that_wait_are_bounded(app, other_app, url):
    async with open_worker(url, 1) as worker:
        await insert(app, "Queued")
        (claimed,) = await worker.claim()
        sent = [Finish(uuid4(), claimed.token, Kind.DELIVERED, sent=True) for _ in range(MOST_UNRECORDED)]
        async with other_app.transaction():
            await other_app.execute("LOCK TABLE crm_sync.history")
            assert await worker.contacts.record_lost(sent) == 0
            assert await worker.contacts.record_lost(sent[:10]) == 10


async def test_a_row_that_is_locked_for_a_while_loses_no_line(app, other_app, url):
    """The cause of the failure is gone when the statement is repeated without history, so the line is written separately."""
    await app.execute("CREATE UNIQUE INDEX ON contacts (brevo_contact_id)")
    async with open_worker(url, 1) as worker:
        await insert(app, "Queued")
        (claimed,) = await worker.claim()
        finish = Finish(claimed.id, claimed.token, Kind.DELIVERED, None, "7", sent=True, receipt=SENT)
        transaction = other_app.transaction()
        await transaction.start()
        await other_app.execute("INSERT INTO contacts (email, brevo_contact_id) VALUES ('eve@example.com', '7')")
        finishing = asyncio.create_task(worker.contacts.finish([finish]))
        again = "wait_event_type = 'Lock' AND query LIKE '%unnest%' AND query NOT LIKE '%crm_sync.history%'"
        await until(app, f"EXISTS (SELECT FROM pg_stat_activity WHERE {again})")
        await transaction.rollback()
        assert (await finishing).written == [finish]
    assert [(line["outcome"], line["status"]) for line in await lines(app)] == [("delivered", 200)]


# Publications.


async def test_under_a_publication_of_all_tables_every_table_can_be_written_to(app, worker):
    await app.execute("CREATE PUBLICATION everything FOR ALL TABLES")
    await insert(app, "Queued")
    (claimed,) = await worker.claim()
    await worker.finish(claimed, Kind.DELIVERED)
    await app.execute("UPDATE crm_sync.history SET key = NULL")
    await app.execute("DELETE FROM crm_sync.history")


async def test_every_table_of_ours_has_a_replica_identity(app):
    without = await app.fetch(
        "SELECT c.relname FROM pg_class AS c WHERE c.relnamespace = 'crm_sync'::regnamespace AND c.relkind = 'r' "
        "AND c.relreplident <> 'f' AND NOT EXISTS (SELECT FROM pg_index AS i WHERE i.indrelid = c.oid AND i.indisprimary)"
    )
    assert without == []
