"""Finish: every transition out of "in flight", the fence, and locked rows."""

import pytest

from crm_sync.core.outcome import Finish, Kind
from tests.steps import insert, pair, read, write

NOW, LATER = "due now", "due later"
FOUND = {"in flight": None, "flipped again": "Queued", "withdrawn": "Skipped", "withdrawn to new": "New"}

# (outcome, what the application wrote meanwhile) -> sync, processing, due, attempts (of 2)
TRANSITIONS = {
    (Kind.DELIVERED, "in flight"): ("Complete", "Complete", None, 2),
    (Kind.DELIVERED, "flipped again"): ("Queued", "Queued", NOW, 0),
    (Kind.DELIVERED, "withdrawn"): ("Skipped", "Complete", None, 2),
    (Kind.DELIVERED, "withdrawn to new"): ("New", "Complete", None, 2),
    (Kind.RETRY, "in flight"): ("Queued", "Queued", LATER, 2),
    (Kind.RETRY, "flipped again"): ("Queued", "Queued", LATER, 0),
    (Kind.RETRY, "withdrawn"): ("Skipped", None, None, 2),
    (Kind.REJECTED, "in flight"): ("Error", "Error", None, 2),
    (Kind.REJECTED, "flipped again"): ("Queued", "Queued", NOW, 0),
    (Kind.REJECTED, "withdrawn"): ("Skipped", "Error", None, 2),
    (Kind.DEFERRED, "in flight"): ("Queued", "Queued", NOW, 1),
    (Kind.DEFERRED, "flipped again"): ("Queued", "Queued", NOW, 0),
    (Kind.DEFERRED, "withdrawn"): ("Skipped", None, None, 1),
    (Kind.ORPHANED, "in flight"): ("Queued", "Queued", NOW, 2),
    (Kind.ORPHANED, "flipped again"): ("Queued", "Queued", NOW, 0),
    (Kind.ORPHANED, "withdrawn"): ("Skipped", None, None, 2),
}


@pytest.mark.parametrize(("kind", "found"), TRANSITIONS)
async def test_a_finish_writes_what_the_table_says(app, worker, kind, found):
    contact = await insert(app, "Queued")
    (first,) = await worker.claim()
    await worker.finish(first, Kind.ORPHANED)
    (claimed,) = await worker.claim()
    if FOUND[found] is not None:
        await write(app, contact, sync_status=FOUND[found])

    sync, processing, due, attempts = TRANSITIONS[kind, found]
    error = None if kind in (Kind.DELIVERED, Kind.DEFERRED, Kind.ORPHANED) else "CODE: reason"
    assert await worker.finish(claimed, kind, error=error, remote_id="7", delay_s=600.0 if due is LATER else 0.0)

    row = await read(app, contact)
    now = await app.fetchval("SELECT clock_timestamp()")
    when = None if row["due_at"] is None else NOW if row["due_at"] <= now else LATER
    assert (row["sync_status"], row["processing_status"], when, row["attempts"]) == (sync, processing, due, attempts)
    assert row["claimed_by"] is None
    assert row["contact_id"] == "7"
    assert (row["synced_at"] is not None) == (kind is Kind.DELIVERED)
    failed = processing == "Error" or (due == LATER)
    assert row["processing_error"] == ("CODE: reason" if failed else None)


async def test_every_contact_in_line_after_a_finish_can_be_claimed_again(app, worker):
    await insert(app, "Queued")
    (claimed,) = await worker.claim()
    await worker.finish(claimed, Kind.DEFERRED)
    assert [again.id for again in await worker.claim()] == [claimed.id]


async def test_a_retry_is_due_after_its_delay_by_the_database_clock(app, worker):
    contact = await insert(app, "Queued")
    (claimed,) = await worker.claim()
    await worker.finish(claimed, Kind.RETRY, error="A: b", delay_s=300.0)
    wait_s = await app.fetchval("SELECT extract(epoch FROM brevo_due_at - clock_timestamp())::float8 FROM contacts")
    assert 290 < wait_s <= 300
    assert 290 < (await worker.contacts.line.next_due()).in_s <= 300
    assert await worker.claim() == []
    assert await pair(app, contact) == ("Queued", "Queued")


async def test_a_contact_held_back_for_a_while_is_due_after_that_and_has_used_no_attempt(app, worker):
    contact = await insert(app, "Queued")
    (claimed,) = await worker.claim()
    await worker.finish(claimed, Kind.DEFERRED, delay_s=60.0)
    assert 50 < (await worker.contacts.line.next_due()).in_s <= 60
    assert (await read(app, contact))["attempts"] == 0


async def test_a_stale_worker_cannot_finish(app, worker, other_worker):
    contact = await insert(app, "Queued")
    (stale,) = await worker.claim()
    await worker.contacts.finish([Finish(stale.id, stale.token, Kind.ORPHANED)])  # it was taken for dead
    (current,) = await other_worker.claim()

    assert not await worker.finish(stale, Kind.REJECTED, error="LATE: must not be written")

    assert await pair(app, contact) == ("Processing", "Processing")
    assert await other_worker.finish(current, Kind.DELIVERED)
    assert await pair(app, contact) == ("Complete", "Complete")


async def test_a_finish_repeated_after_a_lost_answer_does_not_end_a_later_claim_of_the_same_worker(app, worker):
    contact = await insert(app, "Queued")
    (first,) = await worker.claim()
    await worker.finish(first, Kind.DELIVERED)
    await write(app, contact, sync_status="Queued")
    (second,) = await worker.claim()

    assert not await worker.finish(first, Kind.DELIVERED)

    assert await pair(app, contact) == ("Processing", "Processing")
    assert await worker.finish(second, Kind.DELIVERED)


async def test_a_deleted_contact_is_finished_by_nobody(app, worker):
    contact = await insert(app, "Queued")
    (claimed,) = await worker.claim()
    await app.execute("DELETE FROM contacts WHERE id = $1", contact)
    assert not await worker.finish(claimed, Kind.DELIVERED)
    assert await worker.contacts.still_claimed([Finish(claimed.id, claimed.token, Kind.DELIVERED)]) == set()


async def test_a_locked_contact_is_left_out_and_finished_later(app, worker):
    contact = await insert(app, "Queued")
    other = await insert(app, "Queued", "bob@example.com")
    finishes = [Finish(claimed.id, claimed.token, Kind.DELIVERED) for claimed in await worker.claim()]
    async with app.transaction():
        await app.execute("SELECT 1 FROM contacts WHERE id = $1 FOR UPDATE", contact)
        assert [finish.id for finish in (await worker.contacts.finish(finishes)).written] == [other]
        assert await worker.contacts.still_claimed(finishes) == {contact}
    assert [finish.id for finish in (await worker.contacts.finish(finishes)).written] == [contact]


async def test_a_delivery_without_an_id_keeps_the_one_that_is_known(app, worker):
    contact = await insert(app, "Queued")
    for remote_id in ("7", None):
        await write(app, contact, sync_status="Queued")
        (claimed,) = await worker.claim()
        await worker.finish(claimed, Kind.DELIVERED, remote_id=remote_id)
    assert (await read(app, contact))["contact_id"] == "7"


async def roll_up(app):
    return await app.fetchrow("SELECT retry_count, last_retry_at, next_retry_at, last_failed_crm, brevo_due_at FROM contacts")


async def test_the_roll_up_tells_of_the_crm_that_failed_last_until_it_succeeds(app, worker):
    await insert(app, "Queued")
    for attempt in (1, 2):
        (claimed,) = await worker.claim()
        await worker.finish(claimed, Kind.RETRY, error="A: b", delay_s=0.0)
        row = await roll_up(app)
        assert (row["retry_count"], row["last_failed_crm"]) == (attempt, "brevo")
        assert row["next_retry_at"] == row["brevo_due_at"]
        assert row["last_retry_at"] is not None
    (claimed,) = await worker.claim()
    await worker.finish(claimed, Kind.DELIVERED)
    row = await roll_up(app)
    assert (row["retry_count"], row["next_retry_at"], row["last_failed_crm"]) == (0, None, None)


async def test_the_roll_up_of_a_rejected_contact_has_no_next_retry(app, worker):
    await insert(app, "Queued")
    (claimed,) = await worker.claim()
    await worker.finish(claimed, Kind.REJECTED, error="A: b")
    row = await roll_up(app)
    assert (row["retry_count"], row["next_retry_at"], row["last_failed_crm"]) == (0, None, "brevo")


async def test_the_worker_writes_only_its_own_columns(app, worker):
    contact = await insert(app, "Queued")
    ours = ("brevo_", "retry_count", "last_retry_at", "next_retry_at", "last_failed_crm")
    before = {k: v for k, v in (await app.fetchrow("SELECT * FROM contacts")).items() if not k.startswith(ours)}
    (claimed,) = await worker.claim()
    await worker.finish(claimed, Kind.RETRY, error="A: b", delay_s=1.0)
    after = {k: v for k, v in (await app.fetchrow("SELECT * FROM contacts")).items() if not k.startswith(ours)}
    assert after == before
    assert contact == claimed.id
