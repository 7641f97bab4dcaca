"""During a backlog a quarter of each claim goes to fresh flips, the rest in the order of flipping."""

import asyncio
import json
from datetime import timedelta
from itertools import pairwise

import pytest

from crm_sync.core.fairness import LATE_COMMIT, MOST_FRESH
from crm_sync.core.moments import BEGINNING
from crm_sync.core.outcome import Kind
from crm_sync.core.waits import Waits
from tests.steps import open_worker
from tests.tiers import slow

MANY = """
INSERT INTO contacts (email, first_name, brevo_sync_status)
SELECT $1 || n || '@example.com', $1, 'Queued' FROM generate_series(1, $2::integer) AS n
"""
ORDER = "SELECT id FROM contacts WHERE first_name = $1 ORDER BY brevo_due_at"


# The seconds between two looks at the fresh line do not matter here: every claim looks.
EVERY_CLAIM_LOOKS = Waits(fresh_look_s=0.0)


@pytest.fixture
async def worker(url):
    async with open_worker(url, 1, EVERY_CLAIM_LOOKS) as worker:
        yield worker


@pytest.fixture
async def other_worker(url):
    async with open_worker(url, 2, EVERY_CLAIM_LOOKS) as worker:
        yield worker


async def single(app, name="fresh"):
    return await app.fetchval(
        "INSERT INTO contacts (email, first_name, brevo_sync_status) VALUES ('one@example.com', $1, 'Queued') RETURNING id", name
    )


async def order(app, name):
    return [row[0] for row in await app.fetch(ORDER, name)]


def ids(claimed):
    return [contact.id for contact in claimed]


def named(claimed, name):
    return [contact.id for contact in claimed if contact.fields["FIRSTNAME"] == name]


async def deliver(worker, claimed):
    for contact in claimed:
        await worker.finish(contact, Kind.DELIVERED)


@pytest.mark.parametrize(("limit", "claims"), [(1, 4), (2, 2), (5, 1), (100, 1)])
async def test_a_single_flip_into_a_backlog_is_among_the_next_four_or_in_the_very_next_claim(app, worker, limit, claims):
    await app.execute(MANY, "bulk", 3000)
    await worker.claim(limit)
    for _ in range(5):
        fresh = await single(app)
        claimed = [contact for _ in range(claims) for contact in await worker.claim(limit)]
        assert fresh in ids(claimed)


async def test_each_probe_takes_a_fresh_flip_if_there_is_one_as_the_backlog_may_be_what_is_refused(app, worker):
    await app.execute(MANY, "refused", 12)
    await app.execute("UPDATE crm_sync.lanes SET breaker = 'open' WHERE crm = 'brevo'")
    accused = ids(await worker.claim(1, probe=True))
    for _ in range(3):
        fresh = await single(app)
        assert ids(await worker.claim(1, probe=True, without=accused)) == [fresh]
    assert named(await worker.claim(1, probe=True, without=accused), "refused")


async def test_where_all_are_accused_the_one_that_a_probe_gave_back_is_not_the_next(app, worker):
    await app.execute(MANY, "accused", 4)
    await app.execute("UPDATE crm_sync.lanes SET breaker = 'open' WHERE crm = 'brevo'")
    probed = []
    for _ in range(3):
        [contact] = await worker.claim(1, probe=True)
        await worker.finish(contact, Kind.DEFERRED)
        probed.append(contact.id)
    assert len({*probed}) == 3


async def test_the_backlog_is_served_in_the_order_of_flipping_and_gets_three_quarters_while_fresh_flips_keep_coming(app, worker):
    await app.execute(MANY, "bulk", 2000)
    in_order = await order(app, "bulk")
    served, others = [], 0
    while len(served) < 1000:
        for _ in range(40):
            await single(app)
        claimed = await worker.claim(100)
        bulk = named(claimed, "bulk")
        assert set(bulk) == set(in_order[len(served) : len(served) + len(bulk)])
        served += bulk
        others += len(claimed) - len(bulk)
    assert others > 0
    assert others / (len(served) + others) <= 0.25


async def test_a_backlog_that_is_served_one_by_one_keeps_its_order_too(app, worker):
    await app.execute(MANY, "bulk", 1000)
    in_order = await order(app, "bulk")
    served = []
    for _ in range(40):
        await single(app)
        served += named(await worker.claim(1), "bulk")
    assert served == in_order[: len(served)]
    assert len(served) >= 30


async def test_fresh_flips_are_served_in_order_among_themselves(app, worker):
    await app.execute(MANY, "bulk", 1000)
    await worker.claim(4)
    fresh = [await single(app) for _ in range(6)]
    assert [name for _ in range(6) for name in named(await worker.claim(4), "fresh")] == fresh


async def test_without_fresh_flips_the_backlog_gets_everything(app, worker):
    await app.execute(MANY, "bulk", 1000)
    in_order = await order(app, "bulk")
    for first in range(0, 900, 100):
        assert set(ids(await worker.claim(100))) == set(in_order[first : first + 100])


async def test_a_second_bulk_does_not_shut_out_single_flips_that_follow_it(app, worker):
    await app.execute(MANY, "bulk", 2000)
    first_bulk = await order(app, "bulk")
    await worker.claim(100)
    await app.execute(MANY, "second", 2000)
    await app.execute("SELECT pg_sleep(0.001)")  # the embedded server commits without a disk
    before_it_is_noticed = await single(app)
    await worker.claim(100)
    after_that = await single(app)
    assert {before_it_is_noticed, after_that} <= set(ids(await worker.claim(100)))
    served = []
    while claimed := await worker.claim(100):
        served += ids(claimed)
    second = await order(app, "second")
    assert set(served[:1000]) <= set(first_bulk), "the first one goes on as before"
    rank = {contact: number for number, contact in enumerate(second)}
    ranks = [rank[contact] for contact in served if contact in rank]
    assert all(later > earlier - 100 for earlier, later in pairwise(ranks)), "and the second one follows"


async def test_every_contact_of_two_bulks_and_many_singles_is_claimed_once(app, worker):
    await app.execute(MANY, "bulk", 1500)
    seen = []
    for round_ in range(60):
        if round_ == 5:
            await app.execute(MANY, "second", 1500)
        await single(app)
        claimed = await worker.claim(100)
        seen += ids(claimed)
        await deliver(worker, claimed[:5])
    assert len(seen) == len(set(seen)) == 3060


async def test_without_a_backlog_the_order_is_by_due_time(app, worker):
    contacts = [await single(app) for _ in range(12)]
    assert ids(sorted(await worker.claim(100), key=lambda contact: contact.flipped_at)) == contacts
    contacts = [await single(app) for _ in range(12)]
    served = []
    while claimed := await worker.claim(1):
        served += ids(claimed)
    assert sorted(served[:1] + served[1:]) == sorted(contacts)
    assert served[0] == contacts[0]


async def test_several_claimers_with_fresh_flips_never_have_one_contact(app, other_app, url):
    await app.execute(MANY, "bulk", 3000)
    more = 150

    async def work(number):
        mine = []
        async with open_worker(url, number) as worker:
            while claimed := await worker.claim(7):
                mine += ids(claimed)
        return mine

    async def flip():
        for _ in range(more):
            await single(other_app)

    *shares, _ = await asyncio.gather(*(work(number) for number in range(1, 5)), flip())
    async with open_worker(url, 9) as worker:
        shares.append(ids(await worker.claim(500)))
    everything = [contact for share in shares for contact in share]
    assert len(everything) == len(set(everything)) == 3000 + more


async def test_a_flip_committed_late_is_fresh_though_others_were_served_before_it(app, worker, other_app):
    await app.execute(MANY, "bulk", 2000)
    await worker.claim(100)
    async with other_app.transaction():
        late = await single(other_app)
        for _ in range(5):
            fresh = await single(app)
            assert fresh in ids(await worker.claim(100))
    assert late in ids(await worker.claim(100))


async def test_what_was_served_long_ago_is_not_looked_at_again(app, worker):
    """Ten seconds pass by moving the contacts into the past."""
    await app.execute(MANY, "bulk", 2000)
    await app.execute("UPDATE contacts SET brevo_due_at = brevo_due_at - interval '1 h', brevo_flipped_at = now()")
    await app.execute("UPDATE crm_sync.brevo_line SET due_at = due_at - interval '1 h'")
    await worker.claim(100)
    end_of_bulk = await app.fetchval("SELECT max(brevo_due_at) FROM contacts")
    await worker.claim(100)
    quiet = worker.contacts.line.fairness.fresh_from
    now = await app.fetchval("SELECT clock_timestamp()")
    assert end_of_bulk < quiet <= now - LATE_COMMIT
    assert quiet > now - LATE_COMMIT - timedelta(seconds=5)
    assert await single(app) in ids(await worker.claim(100))


async def test_retries_that_fall_due_in_a_backlog_are_fresh(app, worker):
    await app.execute(MANY, "bulk", 2000)
    failed, *_ = await worker.claim(50)
    await worker.finish(failed, Kind.RETRY, error="CRM_ERROR: down", delay_s=0.0)
    assert failed.id in ids(await worker.claim(50))


async def test_many_retries_that_fall_due_together_are_a_backlog(app, worker):
    await app.execute(MANY, "bulk", 2000)
    await worker.claim(100)
    await app.execute(MANY, "again", 500)
    await worker.claim(100)
    assert len(named(await worker.claim(100), "again")) == 0


async def test_the_cursor_stands_at_the_backlog_however_many_fresh_ones_are_served(app, worker):
    await app.execute(MANY, "bulk", 2000)
    await worker.claim(100)
    for _ in range(10):
        fresh = await single(app)
        claimed = await worker.claim(100)
        assert fresh in ids(claimed)
        in_bulk = max(contact.flipped_at for contact in claimed if contact.id != fresh)
        assert worker.contacts.line._cursor <= in_bulk
    worker.contacts.line._full_look_at = float("inf")
    served = 0
    while claimed := await worker.claim(100):
        served += len(claimed)
    assert served == 2010 - 100 - 1000


async def test_a_closed_gate_does_not_make_fresh_flips_wait_behind_the_backlog(app, worker):
    await app.execute(MANY, "bulk", 2000)
    await worker.claim(100)
    fresh = await single(app)
    await app.execute("UPDATE crm_sync.lanes SET breaker = 'throttled' WHERE crm = 'brevo'")
    assert await worker.claim(100) == []
    await app.execute("UPDATE crm_sync.lanes SET breaker = 'closed' WHERE crm = 'brevo'")
    assert fresh in ids(await worker.claim(100))


async def test_a_look_that_fails_loses_nothing_that_was_claimed(app, worker):
    await app.execute(MANY, "bulk", 200)
    worker.contacts.line._newest_due = "SELECT 1 / (SELECT count(*) FROM contacts WHERE email = '')"
    assert len(await worker.claim(100)) == 100


@pytest.mark.parametrize("where", ["bulk", "fresh"])
async def test_a_row_that_takes_no_claim_shuts_out_neither_the_backlog_nor_fresh_flips(app, worker, where):
    await app.execute(MANY, "bulk", 1000)
    await worker.claim(8)
    if where == "fresh":
        poison = await single(app)
    else:
        poison = (await app.fetchrow(ORDER + " OFFSET 8", "bulk"))[0]
    await app.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$; "
        f"CREATE TRIGGER refuse BEFORE UPDATE ON contacts FOR EACH ROW WHEN (OLD.id = '{poison}') EXECUTE FUNCTION refuse()"
    )
    fresh, served = set(), []
    for _ in range(12):
        fresh.add(await single(app))
        served += ids(await worker.claim(8))
    assert poison not in served
    assert len(fresh - set(served)) <= 2
    assert len(served) > 12 + 30


@pytest.mark.parametrize("body", ["RAISE EXCEPTION 'no'", "RETURN NULL"])
async def test_a_fresh_row_that_takes_no_claim_does_not_spoil_every_probe(app, worker, body):
    await app.execute(MANY, "bulk", 12)
    [first] = await worker.claim(1, probe=True)
    poison = await single(app)
    await app.execute(
        f"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; END $$; "
        f"CREATE TRIGGER refuse BEFORE UPDATE ON contacts FOR EACH ROW WHEN (OLD.id = '{poison}') EXECUTE FUNCTION refuse()"
    )
    in_order = await order(app, "bulk")
    assert [ids(await worker.claim(1, probe=True, without=[first.id])) for _ in range(3)] == [[one] for one in in_order[1:4]]
    assert not worker.contacts.avoiding


async def explain(worker, statement, *arguments):
    """The generic plan, which a worker's session uses, and its statistics; rolled back."""
    values = ", ".join(arguments)
    async with worker.database.connection() as connection:
        await connection.execute(f"PREPARE explained AS {statement}")
        transaction = connection.transaction()
        await transaction.start()
        plan = await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) EXECUTE explained ({values})")
        await transaction.rollback()
        await connection.execute("DEALLOCATE explained")
    return json.loads(plan)[0]["Plan"]


def nodes(plan):
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


PAGES_OF_A_LOOKUP = 5  # of a contact by key: down the index, and the row


def pages(plan):
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


@pytest.mark.parametrize("analyzed", [False, True])
@slow
async def test_with_100000_waiting_a_claim_and_a_look_read_what_they_return_and_no_more(app, worker, analyzed):
    await app.execute(MANY, "bulk", 100_000)
    if analyzed:
        await app.execute("ANALYZE contacts, crm_sync.brevo_line")
    end = f"'{await app.fetchval('SELECT max(brevo_due_at) FROM contacts')}'"
    await app.execute(MANY, "second", MOST_FRESH)
    contacts = worker.contacts

    async def claim(share, fresh_from):
        arguments = ("100", f"{1 << 32}", f"'{BEGINNING}'", "'{}'", "FALSE", share, fresh_from)
        return await explain(worker, contacts._claim, *arguments)

    without, with_fresh = await claim("0", "NULL"), await claim("25", end)
    looks = [await explain(worker, contacts.line._newest_due, "'{}'", start, f"{MOST_FRESH}") for start in ("NULL", end)]
    for plan in (without, with_fresh, *looks):
        kinds = {node["Node Type"] for node in nodes(plan)}
        assert not kinds & {"Seq Scan", "Sort", "Incremental Sort", "Bitmap Heap Scan"}
        scans = {node["Index Name"] for node in nodes(plan) if node["Node Type"] == "Index Scan"}
        assert scans <= {"brevo_line_due_at", "contacts_pkey", "lanes_pkey", "workers_pkey"}
        assert scans >= {"brevo_line_due_at", "contacts_pkey"}
        removed = sum(node.get("Rows Removed by Filter", 0) for node in nodes(plan))
        assert removed <= 100
    assert with_fresh["Actual Rows"] == without["Actual Rows"] == 100
    assert pages(with_fresh) < 1.2 * pages(without)
    assert all(pages(plan) < PAGES_OF_A_LOOKUP * (MOST_FRESH + 1) for plan in looks)


async def test_a_fresh_flip_makes_the_backlog_that_it_overtook_late(app, worker):
    await app.execute(MANY, "bulk", 40)
    assert not any(contact.late for contact in await worker.claim(10))
    fresh = await single(app)
    claimed = await worker.claim(10)
    assert fresh in ids(claimed)
    assert not any(contact.late for contact in claimed)
    assert all(contact.late for contact in await worker.claim(10))
