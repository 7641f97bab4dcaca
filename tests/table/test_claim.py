"""Claim: which contacts, in which order, and at what cost."""

import asyncio
import json
import re

import pytest

from crm_sync.core.moments import BEGINNING
from crm_sync.core.outcome import Finish, Kind, columns, sparse
from crm_sync.postgres.statements import query, render
from tests.steps import insert, open_worker, read

MANY = "INSERT INTO contacts (email, brevo_sync_status) SELECT n || '@example.com', $1 FROM generate_series(1, $2) AS n"

after_a_ring = pytest.mark.parametrize("rung", [False, True], ids=["awake", "rung"])  # then it is another statement


@after_a_ring
async def test_a_claim_returns_what_is_to_be_sent(app, worker, rung):
    contact = await insert(app, "Queued")
    (claimed,) = await worker.claim(rung=rung)
    assert (claimed.id, claimed.email, claimed.fields, claimed.attempts) == (contact, "ada@example.com", {"FIRSTNAME": "Ada"}, 1)
    row = await read(app, contact)
    assert (row["sync_status"], row["processing_status"], row["claimed_by"]) == ("Processing", "Processing", claimed.token)


@after_a_ring
async def test_two_workers_never_have_one_contact(app, url, rung):
    await app.execute(MANY, "Queued", 2000)

    async def work(number: int) -> list[object]:
        mine: list[object] = []
        async with open_worker(url, number) as worker:
            while claimed := await worker.claim(7, rung=rung):
                mine += [contact.id for contact in claimed]
        return mine

    shares = await asyncio.gather(*(work(number) for number in range(1, 5)))
    everything = [contact for share in shares for contact in share]
    assert len(everything) == len(set(everything)) == 2000


@after_a_ring
async def test_contacts_are_served_in_the_order_of_their_flips(app, worker, rung):
    ids = [await insert(app, "Queued", f"{number}@example.com") for number in range(10)]
    served = []
    while claimed := await worker.claim(3, rung=rung):
        served.append({contact.id for contact in claimed})
    assert served == [set(ids[0:3]), set(ids[3:6]), set(ids[6:9]), set(ids[9:])]


@after_a_ring
async def test_a_locked_contact_is_stepped_over_and_claimed_when_released(app, worker, rung):
    held = await insert(app, "Queued")
    free = await insert(app, "Queued", "bob@example.com")
    async with app.transaction():
        await app.execute("SELECT 1 FROM contacts WHERE id = $1 FOR UPDATE", held)
        assert [contact.id for contact in await worker.claim(rung=rung)] == [free]
        assert await worker.claim(rung=rung) == []
        assert (await worker.contacts.line.next_due()).in_s <= 0, "what the application holds must not be forgotten"
    assert [contact.id for contact in await worker.claim(rung=rung)] == [held]


@after_a_ring
async def test_a_contact_that_an_open_insert_merely_references_is_claimed(app, worker, other_app, rung):
    contact = await insert(app, "Queued")
    await app.execute("CREATE TABLE orders (contact_id uuid REFERENCES contacts (id))")
    async with other_app.transaction():
        await other_app.execute("INSERT INTO orders VALUES ($1)", contact)
        assert [claimed.id for claimed in await worker.claim(rung=rung)] == [contact]


@after_a_ring
async def test_a_flip_committed_late_lies_behind_the_cursor_and_is_found(app, worker, other_app, rung):
    async with other_app.transaction():
        late = await insert(other_app, "Queued", "late@example.com")
        for number in range(6):
            await insert(app, "Queued", f"{number}@example.com")
        assert len(await worker.claim(3, rung=rung)) == 3
    claimed = [*await worker.claim(3, rung=rung), *await worker.claim(3, rung=rung)]
    assert late in [contact.id for contact in claimed]


@after_a_ring
async def test_a_contact_withdrawn_without_the_trigger_is_not_claimed(app, worker, rung):
    await insert(app, "Queued")
    await app.execute("SET session_replication_role = replica; UPDATE contacts SET brevo_sync_status = 'Skipped'")
    assert await worker.claim(rung=rung) == []
    assert (await worker.contacts.line.next_due()).in_s is None


@after_a_ring
@pytest.mark.parametrize("breaker", ["throttled", "open", "half-open"])
async def test_while_the_breaker_is_not_closed_only_the_probe_claims(app, worker, breaker, rung):
    contact = await insert(app, "Queued")
    await app.execute("UPDATE crm_sync.lanes SET breaker = $1 WHERE crm = 'brevo'", breaker)
    assert await worker.claim(rung=rung) == []
    assert (await worker.contacts.line.next_due()).in_s <= 0, "it is due all the same"
    assert [claimed.id for claimed in await worker.claim(1, probe=True)] == [contact]


@after_a_ring
async def test_while_the_lane_is_paused_by_hand_not_even_the_probe_claims(app, worker, rung):
    contact = await insert(app, "Queued")
    await app.execute("UPDATE crm_sync.lanes SET held_since = now() WHERE crm = 'brevo'")
    assert await worker.claim(rung=rung) == []
    assert await worker.claim(1, probe=True) == []
    await app.execute("UPDATE crm_sync.lanes SET held_since = NULL")
    assert [claimed.id for claimed in await worker.claim(rung=rung)] == [contact]


@after_a_ring
async def test_the_gate_of_another_crm_is_no_matter(app, worker, rung):
    await insert(app, "Queued")
    await app.execute("UPDATE crm_sync.lanes SET breaker = 'open', held_since = now() WHERE crm <> 'brevo'")
    assert len(await worker.claim(rung=rung)) == 1


@after_a_ring
async def test_a_claim_that_arrives_when_its_worker_is_forgotten_takes_nothing(app, worker, other_worker, rung):
    contact = await insert(app, "Queued")
    await worker.database.fetch(query("forget_workers"), [1])
    assert await worker.claim(rung=rung) == []
    assert await worker.claim(1, probe=True) == []
    assert (await read(app, contact))["claimed_by"] is None
    assert [claimed.id for claimed in await other_worker.claim(rung=rung)] == [contact]


async def explain(worker, statement: str, *arguments: object) -> str:
    rows = await worker.database.fetch(f"EXPLAIN (FORMAT JSON) {statement}", *arguments)
    return json.dumps(json.loads(rows[0][0])[0]["Plan"])


async def test_the_claim_uses_the_line_on_50000_rows_and_touches_no_index(app, worker):
    await app.execute(MANY, "New", 50_000)
    await app.execute("UPDATE contacts SET brevo_sync_status = 'Queued' WHERE email LIKE '%7@%'")
    contacts = worker.contacts
    for analyzed in (False, True):
        if analyzed:
            await app.execute("ANALYZE")
        claim = (100, 1 << 32, contacts.line._cursor, [], False)
        for plan in (
            await explain(worker, contacts._claim, *claim, 0, None),
            await explain(worker, contacts._claim_single, *claim),
        ):
            assert "brevo_line_due_at" in plan
            assert "contacts_pkey" in plan
            assert "Seq Scan" not in plan

    counts = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'contacts'"
    await app.execute("SELECT pg_stat_force_next_flush()")
    updates, hot = await app.fetchrow(counts)
    assert len(await worker.claim(500)) == 500
    await worker.database.fetch("SELECT pg_stat_force_next_flush()")
    await app.execute("SELECT pg_stat_clear_snapshot()")
    updates_after, hot_after = await app.fetchrow(counts)
    assert updates_after - updates == 500
    assert hot_after - hot >= 0.9 * 500, "a claim must be a heap-only update wherever the page has room"


@pytest.mark.parametrize("part", ["told", "untold"])
async def test_the_finish_looks_contacts_up_by_their_key(app, worker, part):
    await app.execute(MANY, "Queued", 5_000)
    finishes = [Finish(one.id, one.token, Kind.DELIVERED, sent=True) for one in await worker.claim(500)]
    plan = await explain(worker, getattr(worker.contacts._finishing._finish, part), *sparse(columns(finishes)))
    assert "contacts_pkey" in plan
    assert "Seq Scan" not in plan
    assert ("history" in plan) == (part == "told")


async def test_the_look_for_what_is_due_uses_the_line(app, worker):
    await app.execute(MANY, "Queued", 20_000)
    await app.execute("ANALYZE")
    assert "brevo_line_due_at" in await explain(worker, worker.contacts.line._next_due, [], BEGINNING)


async def test_the_look_for_who_is_ready_beside_refused_rows_uses_the_line(app, worker):
    await app.execute(MANY, "Queued", 20_000)
    await app.execute("ANALYZE")
    plan = await explain(worker, worker.contacts._by_key._ready, [], BEGINNING, 100)
    assert "brevo_line_due_at" in plan
    assert "contacts_pkey" in plan
    assert "Seq Scan" not in plan


@pytest.mark.parametrize(("statement", "arguments"), [("release_claims", ([7], 3, "A: b", [])), ("flip_early", ())])
async def test_a_full_look_finds_the_lines_that_it_ends_by_their_due_times(app, worker, statement, arguments):
    await app.execute(MANY, "Queued", 20_000)
    await app.execute("ANALYZE")
    plan = await explain(worker, render(statement, worker.contacts.table.variables), 0, 1024, *arguments)
    assert "brevo_line_due_at" in plan
    assert not re.search(r'"Seq Scan"[^{}]*"Relation Name": "brevo_line"', plan)
