"""Which contact is flipped again if an older state may have been written last: the one flipped last with that
record and address.
"""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from crm_sync.core.outcome import Deletion, Finish, Kind
from crm_sync.lane.survivors import Survivors
from crm_sync.table.overwritten import Overwritten
from crm_sync.table.schema import read_schema
from tests.steps import insert, pair, read, write
from tests.table.test_fairness import explain, nodes

RECORD = "record-1"
HOUR_MS = 3_600_000
MICROSECOND = timedelta(microseconds=1)


@pytest.fixture
async def overwritten(worker):
    table = (await read_schema(worker.database)).lanes["brevo"]
    return Overwritten(worker.database, table, keeps_records=True)


async def delivered(app, worker, email="ada@example.com", record=RECORD):
    """A contact that was flipped and delivered."""
    contact = await insert(app, "Queued", email)
    (claimed,) = await worker.claim()
    await worker.finish(claimed, Kind.DELIVERED, remote_id=record)
    return contact


def finish(contact, *, sent=True, late=False, record=RECORD):
    return Finish(contact, 7, Kind.DELIVERED, None, record, sent=sent, late=late)


async def test_a_lost_contact_is_flipped_as_an_application_would_but_keeps_the_time_of_its_flip(app, worker, overwritten):
    contact = await delivered(app, worker)
    before = await read(app, contact)
    overwritten.add([finish(contact)], [])
    assert await overwritten.flip() == 1
    assert not overwritten
    after = await read(app, contact)
    assert (after["sync_status"], after["processing_status"], after["attempts"]) == ("Queued", "Queued", 0)
    assert after["flipped_at"] == before["flipped_at"] + MICROSECOND
    assert after["due_at"] > before["synced_at"]
    assert [(one.id, one.late) for one in await worker.claim()] == [(contact, True)]


async def test_one_whose_request_had_not_started_is_left(app, worker, overwritten):
    contact = await delivered(app, worker)
    overwritten.add([finish(contact, sent=False)], [])
    assert not overwritten
    assert await pair(app, contact) == ("Complete", "Complete")


@pytest.mark.parametrize("word", ["Skipped", "New", "Selected", "Error"])
async def test_one_that_is_not_wanted_there_any_more_is_left(app, worker, overwritten, word):
    contact = await delivered(app, worker)
    await write(app, contact, sync_status=word)
    overwritten.add([finish(contact)], [])
    assert await overwritten.flip() == 0
    assert (await read(app, contact))["sync_status"] == word


async def test_one_in_line_keeps_its_place(app, worker, overwritten):
    contact = await delivered(app, worker)
    await write(app, contact, sync_status="Queued")
    before = await read(app, contact)
    overwritten.add([finish(contact)], [])
    assert await overwritten.flip() == 0
    assert await read(app, contact) == before


async def test_one_in_flight_goes_once_more_after_it(app, worker, overwritten):
    contact = await delivered(app, worker)
    await write(app, contact, sync_status="Queued")
    (claimed,) = await worker.claim()
    overwritten.add([finish(contact)], [])
    assert await overwritten.flip() == 1
    assert await pair(app, contact) == ("Queued", "Processing")
    await worker.finish(claimed, Kind.DELIVERED)
    assert [(one.id, one.late, one.flipped_at > claimed.flipped_at) for one in await worker.claim()] == [(contact, True, True)]


async def test_one_sent_once_more_gives_way_to_a_later_flip_that_was_not_committed_yet(app, other_app, worker, overwritten):
    first = await delivered(app, worker)
    async with other_app.transaction():
        second = await insert(other_app, "Queued")
        overwritten.add([finish(first)], [])
        assert await overwritten.flip() == 1
    claimed = await worker.claim()
    assert {one.id: one.late for one in claimed} == {first: True, second: False}
    for one in sorted(claimed, key=lambda one: one.id == first):  # the older one is sent last
        await worker.finish(one, Kind.DELIVERED, remote_id=RECORD)
    overwritten.add([], [finish(first, late=True)])
    assert await overwritten.flip() == 1
    assert [(one.id, one.late) for one in await worker.claim()] == [(second, True)]
    overwritten.add([], [finish(second, late=True)])
    assert await overwritten.flip() == 0


@pytest.mark.parametrize("time", ["infinity", "-infinity", "0044-03-15 00:00 BC", None])
async def test_one_sent_once_more_is_due_whatever_the_time_of_its_flip(app, worker, overwritten, time):
    contact = await delivered(app, worker)
    await app.execute("UPDATE contacts SET brevo_flipped_at = $1::text::timestamptz", time)
    overwritten.add([finish(contact)], [])
    assert await overwritten.flip() == 1
    assert [one.id for one in await worker.claim()] == [contact]


async def test_one_sent_once_more_has_waited_since_it_was_due_again(app, worker, overwritten):
    contact = await delivered(app, worker)
    await app.execute("UPDATE contacts SET brevo_flipped_at = brevo_flipped_at - interval '1 day'")
    overwritten.add([finish(contact)], [])
    assert await overwritten.flip() == 1
    await worker.finish(*await worker.claim(), Kind.DELIVERED, remote_id=RECORD)
    assert await app.fetchval("SELECT waited_ms FROM crm_sync.history ORDER BY at DESC LIMIT 1") < HOUR_MS


async def test_of_several_rows_of_the_record_the_one_flipped_last_is_flipped(app, worker, overwritten):
    first = await delivered(app, worker)
    second = await delivered(app, worker, " Ada@Example.com")
    overwritten.add([finish(first)], [])
    assert await overwritten.flip() == 1
    assert await pair(app, first) == ("Complete", "Complete")
    assert await pair(app, second) == ("Queued", "Queued")


@pytest.mark.parametrize("email", [None, "", " \t"])
async def test_of_rows_without_an_address_too_the_one_flipped_last_is_flipped(app, worker, overwritten, email):
    first = await delivered(app, worker, email)
    addressed = await delivered(app, worker)
    second = await delivered(app, worker, None)
    other = await delivered(app, worker, email, "record-2")
    overwritten.add([], [finish(first, late=True)])
    assert await overwritten.flip() == 1
    assert await pair(app, second) == ("Queued", "Queued")
    assert [await pair(app, contact) for contact in (first, other, addressed)] == [("Complete", "Complete")] * 3


async def test_rows_of_another_address_that_share_the_record_are_left(app, worker, overwritten):
    first = await delivered(app, worker)
    second = await delivered(app, worker, "bob@example.com")
    overwritten.add([finish(first)], [finish(first, late=True)])
    assert await overwritten.flip() == 1
    assert await pair(app, first) == ("Queued", "Queued")
    assert await pair(app, second) == ("Complete", "Complete")


async def test_where_the_row_is_gone_whoever_has_the_record_is_flipped(app, worker, overwritten):
    first = await delivered(app, worker)
    second = await delivered(app, worker)
    await app.execute("DELETE FROM contacts WHERE id = $1", first)
    overwritten.add([finish(first)], [])
    assert await overwritten.flip() == 1
    assert await pair(app, second) == ("Queued", "Queued")


async def test_where_nothing_is_left_nothing_happens(app, worker, overwritten):
    contact = await delivered(app, worker)
    await app.execute("DELETE FROM contacts")
    overwritten.add([finish(contact)], [])
    assert await overwritten.flip() == 0
    assert not overwritten


async def test_one_that_came_late_is_not_sent_again_itself(app, worker, overwritten):
    contact = await delivered(app, worker)
    overwritten.add([], [finish(contact, late=True)])
    assert await overwritten.flip() == 0
    assert await pair(app, contact) == ("Complete", "Complete")


async def test_one_that_came_late_has_a_later_flip_of_its_address_sent_over_it(app, worker, overwritten):
    first = await delivered(app, worker)
    second = await delivered(app, worker)
    overwritten.add([], [finish(first, late=True)])
    assert await overwritten.flip() == 1
    assert await pair(app, first) == ("Complete", "Complete")
    assert await pair(app, second) == ("Queued", "Queued")


async def test_those_that_came_late_and_have_their_record_for_themselves_are_looked_up_by_it_and_no_further(
    app, worker, overwritten
):
    late = [await delivered(app, worker, f"{number}@example.com", f"{number}") for number in range(20)]
    twin = await delivered(app, worker, "0@example.com", "0")
    keys, records = ", ".join(f"'{contact}'" for contact in late), ", ".join(f"'{number}'" for number in range(20))
    arrays = (f"array_fill({value}, '{{20}}')" for value in ("FALSE", "1", "now()"))
    plan = await explain(worker, overwritten._flip, f"ARRAY[{keys}]::uuid[]", f"ARRAY[{records}]", *arrays)
    lookups = sum(node["Actual Loops"] for node in nodes(plan) if node["Node Type"] == "Index Scan")
    assert 20 <= lookups < 30  # by its record; more only for the one that has a twin
    overwritten.add([], [finish(contact, late=True, record=f"{number}") for number, contact in enumerate(late)])
    assert await overwritten.flip() == 1
    assert await pair(app, twin) == ("Queued", "Queued")


async def test_a_locked_row_is_not_waited_for_and_comes_again(app, other_app, worker, overwritten):
    contact = await delivered(app, worker)
    async with other_app.transaction():
        await other_app.execute("SELECT FROM contacts FOR UPDATE")
        overwritten.add([finish(contact)], [])
        assert await overwritten.flip() == 0
        assert [one.id for one in overwritten.unseen] == [contact]
    assert await overwritten.flip() == 1
    assert not overwritten


async def test_a_row_that_the_table_refuses_holds_up_no_other(app, worker, overwritten):
    first = await delivered(app, worker, "1@example.com", "1")
    second = await delivered(app, worker, "2@example.com", "2")
    await app.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF NEW.email LIKE '1%' THEN RAISE EXCEPTION 'no' USING ERRCODE = 'check_violation'; END IF; RETURN NEW; END $$"
    )
    await app.execute("CREATE TRIGGER refuse BEFORE UPDATE ON contacts FOR EACH ROW EXECUTE FUNCTION refuse()")
    overwritten.add([finish(first, record="1"), finish(second, record="2")], [])
    assert await overwritten.flip() == 1
    assert not overwritten
    assert await pair(app, second) == ("Queued", "Queued")


async def test_a_finish_whose_answer_was_lost_is_no_reason_to_send_again(app, worker, overwritten):
    contact = await insert(app, "Queued")
    (claimed,) = await worker.claim()
    await worker.finish(claimed, Kind.DELIVERED, remote_id=RECORD)
    again = finish(contact)._replace(attempts=claimed.attempts, flipped_at=claimed.flipped_at)
    overwritten.add([again], [])
    assert await overwritten.flip() == 0
    await write(app, contact, sync_status="Queued")
    (taken_over,) = await worker.claim()
    await worker.finish(taken_over, Kind.DELIVERED, remote_id=RECORD)
    overwritten.add([again], [])
    assert await overwritten.flip() == 1


async def test_where_there_are_no_records_the_id_of_another_contact_means_nothing(app, worker):
    """Contacts in one call of n8n have the id of one execution."""
    table = (await read_schema(worker.database)).lanes["brevo"]
    overwritten = Overwritten(worker.database, table, keeps_records=False)
    first = await delivered(app, worker)
    second = await delivered(app, worker)
    overwritten.add([finish(first)], [finish(second, late=True)])
    assert await overwritten.flip() == 1
    assert await pair(app, first) == ("Queued", "Queued")
    assert await pair(app, second) == ("Complete", "Complete")


async def test_where_there_are_no_records_one_that_came_late_is_not_looked_up(worker):
    table = (await read_schema(worker.database)).lanes["brevo"]
    overwritten = Overwritten(worker.database, table, keeps_records=False)
    overwritten.add([], [finish(1, late=True)])
    assert not overwritten


async def test_only_what_was_put_back_since_its_flip_is_late(app, worker):
    contact = await insert(app, "Queued")
    (claimed,) = await worker.claim()
    assert not claimed.late
    await worker.finish(claimed, Kind.DEFERRED)
    (claimed,) = await worker.claim()
    assert claimed.late
    await worker.finish(claimed, Kind.DELIVERED)
    await write(app, contact, sync_status="Queued")
    assert not (await worker.claim())[0].late


async def test_those_that_live_on_after_a_deletion_keep_the_order_of_their_flips(app, worker):
    """They are all sent once more, and so all late."""
    table = (await read_schema(worker.database)).lanes["brevo"]
    contacts = [await delivered(app, worker) for _ in range(3)]
    for contact in reversed(contacts):
        await write(app, contact, sync_status="Queued")
        await worker.finish(*await worker.claim(), Kind.DELIVERED)
    flips = [(await read(app, contact))["flipped_at"] for contact in contacts]
    deletion = Deletion("another", RECORD, "ada@example.com", erase=False, deleted_at=datetime.now(UTC))
    assert await Survivors(table, worker.database, keeps_records=True).send_again({1: deletion}) == set()
    rows = [await read(app, contact) for contact in contacts]
    assert [(row["sync_status"], row["flipped_at"]) for row in rows] == [("Queued", flip + MICROSECOND) for flip in flips]


async def test_what_is_lost_while_others_are_flipped_stays_for_the_next_time(app, worker, overwritten):
    first = await delivered(app, worker)
    second = await delivered(app, worker, "grace@example.com", "record-2")
    overwritten.add([finish(first)], [])
    flipping = asyncio.create_task(overwritten.flip())
    await asyncio.sleep(0)  # its statement is sent
    overwritten.add([finish(second, record="record-2")], [finish(second, late=True, record="record-2")])
    assert await flipping == 1
    assert [one.id for one in overwritten.unseen] == [second, second]
