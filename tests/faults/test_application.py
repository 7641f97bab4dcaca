"""What the application may do to a contact in flight: nothing is lost, overwritten or delivered too late."""

import asyncio
import json
import random
from collections.abc import Mapping
from typing import Any

import asyncpg
import pytest
from structlog.testing import capture_logs

from crm_sync import events
from crm_sync.core.outcome import Finish, Kind
from crm_sync.sandbox.server import Fault, Hold
from tests.faults.promise import LINE_UP, RecordingCrm, Stopwatch, assert_promise_kept
from tests.faults.real_crms import delivering, records, remote_id, sandboxes, until_none_in_hand
from tests.harness import ALL_COMPLETE, running, until
from tests.steps import insert, open_worker, pair, read
from tests.tiers import slow

WAYS = {
    "one at a time": ("brevo", {}),
    "a batch of HubSpot": ("hubspot", {}),
    "a batch of Mautic": ("mautic", {}),
    "a list for n8n": ("n8n", {"N8N_BATCH_SIZE": "10"}),
}


@pytest.mark.parametrize(("crm", "env"), WAYS.values(), ids=WAYS.keys())
async def test_of_those_in_flight_each_change_is_kept(app, url, monkeypatch, crm, env):
    """Edited and flipped, flipped, withdrawn, deleted, and left alone, while the CRM has applied the request and not answered."""
    hold = Hold()
    names = ("edited", "flipped", "withdrawn", "deleted", "alone")
    for name in names:
        await app.execute(
            f"INSERT INTO contacts (email, first_name, {crm}_sync_status) VALUES ($1, 'Ada', 'Queued')", f"{name}@example.com"
        )
    ids = {row["email"].partition("@")[0]: row["id"] for row in await app.fetch("SELECT id, email FROM contacts")}
    async with sandboxes(crm) as there:
        sandbox = there[crm]
        sandbox.standing_faults.append(Fault(lambda call: call.method != "GET", applies=True, hold=hold))
        with capture_logs() as log:
            async with delivering(url, monkeypatch, {crm: sandbox.url}, **env) as clients:
                await until(app, f"bool_and({crm}_claimed_by IS NOT NULL) FROM contacts")
                await asyncio.wait_for(hold.reached.wait(), 10)
                while len(records(crm, sandbox)) < len(names):  # noqa: ASYNC110 (a sandbox has no events)
                    await asyncio.sleep(0.005)
                change = f"UPDATE contacts SET {crm}_sync_status = $2 WHERE id = $1"
                await app.execute("UPDATE contacts SET first_name = 'Eve' WHERE id = $1", ids["edited"])
                for name, word in (("edited", "Queued"), ("flipped", "Queued"), ("withdrawn", "Skipped")):
                    await app.execute(change, ids[name], word)
                await app.execute("DELETE FROM contacts WHERE id = $1", ids["deleted"])
                hold.release()
                await until_none_in_hand(app, [crm])
        sent = clients[crm].sent
        assert {name: sent[ids[name]] for name in names} == {
            **dict.fromkeys(("edited", "flipped"), 2),
            **dict.fromkeys(("withdrawn", "deleted", "alone"), 1),
        }
        held = {one.email.partition("@")[0]: one for one in records(crm, sandbox)}
        assert len(records(crm, sandbox)) == len(names), "no record twice"
    assert {name: one.first_name for name, one in held.items()} == {name: "Eve" if name == "edited" else "Ada" for name in names}
    rows = await app.fetch(
        f"SELECT email, {crm}_sync_status AS sync, {crm}_processing_status AS processing, {remote_id(crm)} AS id FROM contacts"
    )
    assert {row["email"].partition("@")[0]: (row["sync"], row["processing"]) for row in rows} == {
        **dict.fromkeys(("edited", "flipped", "alone"), ("Complete", "Complete")),
        "withdrawn": ("Skipped", "Complete"),
    }
    assert all(row["id"] == held[row["email"].partition("@")[0]].id for row in rows)
    assert [entry["contacts"] for entry in log if entry["event"] == events.CONTACTS_LOST] == [1], "the deleted one is counted"


async def test_what_is_withdrawn_or_deleted_in_line_is_never_sent(app, url):
    """I5, with a CRM at capacity."""
    crm = RecordingCrm(concurrency=2)
    crm.gate.clear()
    await app.execute(LINE_UP, "", 60)
    async with running(url, crm):
        await crm.reached(2)
        await until(app, "count(brevo_claimed_by) >= 2 FROM contacts")
        gone = await app.fetch(
            "UPDATE contacts SET brevo_sync_status = 'Skipped' "
            "WHERE brevo_claimed_by IS NULL AND split_part(email, '@', 1)::integer % 2 = 0 RETURNING email"
        )
        gone += await app.fetch(
            "DELETE FROM contacts WHERE brevo_claimed_by IS NULL AND brevo_sync_status = 'Queued' RETURNING email"
        )
        assert len(gone) > 40
        crm.gate.set()
        await until(app, "bool_and(brevo_sync_status IN ('Complete', 'Skipped')) FROM contacts")
    assert not {row["email"] for row in gone} & set(crm.log)
    skipped = await app.fetchval("SELECT count(*) FROM contacts WHERE brevo_sync_status = 'Skipped' AND brevo_due_at IS NULL")
    assert skipped > 10


OUR_COLUMNS = {"the seed's columns": False, "all of ours": True}
STALE = {
    "read when it was New": ("New", "Processing", 1),
    "read when it was Queued": ("Queued", "Queued", 2),
    "read when it was Complete": ("Complete", "Processing", 1),
}


async def save(app, row, *, with_claim):
    """Writes a row back as it was read, as ORMs do. with_claim: its model includes the claim column, too."""
    values = {name: value for name, value in row.items() if name != "id" and (with_claim or not name.endswith("_claimed_by"))}
    columns = ", ".join(f'"{name}" = ${number}' for number, name in enumerate(values, 2))
    await app.execute(f"UPDATE contacts SET {columns} WHERE id = $1", row["id"], *values.values())


@pytest.mark.parametrize("with_claim", OUR_COLUMNS.values(), ids=OUR_COLUMNS.keys())
@pytest.mark.parametrize(("before", "during", "sends"), STALE.values(), ids=STALE.keys())
async def test_a_stale_row_saved_in_flight_leaves_the_flight_unharmed(app, url, before, during, sends, with_claim):  # noqa: PLR0917
    """Of everything written back as it was read, only a status that an application can mean is accepted."""
    crm = RecordingCrm()
    crm.gate.clear()
    contact = await insert(app, before)
    stale = await app.fetchrow("SELECT * FROM contacts")
    async with running(url, crm):
        await app.execute("UPDATE contacts SET brevo_sync_status = 'Queued' WHERE brevo_due_at IS NULL")
        await crm.reached(1)
        in_flight = await read(app, contact)
        await save(app, stale, with_claim=with_claim)
        now = await read(app, contact)
        crm.gate.set()
        assert (now.pop("sync_status"), in_flight.pop("sync_status")) == (during, "Processing")
        assert {**now, "flipped_at": None} == {**in_flight, "flipped_at": None}
        await until(app, "bool_and(brevo_claimed_by IS NULL AND brevo_due_at IS NULL) FROM contacts")
    assert await pair(app, contact) == ("Complete", "Complete")
    assert (await read(app, contact))["contact_id"] == crm.records["ada@example.com"][0]
    assert len(crm.log) == sends


async def test_a_row_read_in_flight_and_saved_afterwards_with_all_its_columns_does_not_stay_in_flight(app, url):
    """I2: the claim it brings back is no longer valid."""
    crm = RecordingCrm()
    crm.gate.clear()
    async with running(url, crm):
        await insert(app, "Queued")
        await crm.reached(1)
        stale = await app.fetchrow("SELECT * FROM contacts")
        crm.gate.set()
        await until(app, ALL_COMPLETE)
        await save(app, stale, with_claim=True)
        await until(app, ALL_COMPLETE)
        await assert_promise_kept(app, crm)


async def test_a_transaction_that_holds_rows_for_long_holds_up_nobody_else(app, other_app, url):
    """Half of its rows are in flight, half are in line. The client of the application may take minutes."""
    crm = RecordingCrm(batch_limit=10, concurrency=2)
    crm.gate.clear()
    await app.execute(LINE_UP, "", 200)
    async with running(url, crm):
        await crm.reached(2)
        async with other_app.transaction():
            held = [
                *await other_app.fetch("SELECT id FROM contacts WHERE brevo_claimed_by IS NOT NULL LIMIT 20 FOR UPDATE"),
                *await other_app.fetch("SELECT id FROM contacts WHERE brevo_claimed_by IS NULL LIMIT 20 FOR UPDATE"),
            ]
            crm.gate.set()
            free = "bool_and(brevo_sync_status = 'Complete') FROM contacts WHERE id <> ALL ($1::uuid[])"
            await until(app, free, [row["id"] for row in held])
            stopwatch = Stopwatch()
            contact = await insert(app, "Queued")
            await until(app, "brevo_sync_status = 'Complete' FROM contacts WHERE id = $1", contact)
            assert stopwatch.tell("a fresh flip while 40 rows are locked") < 2
            assert await app.fetchval("SELECT count(*) FROM contacts WHERE brevo_sync_status <> 'Complete'") == 40
        stopwatch.start()
        await until(app, ALL_COMPLETE)
        assert stopwatch.tell("40 locked rows, from their release to delivered") < 3
        await assert_promise_kept(app, crm)


@slow
async def test_against_transactions_in_the_opposite_order_nobody_ever_deadlocks(app, url):
    """Two workers write batches in the order of service; four clients of the application lock rows in the opposite order."""
    workers = [RecordingCrm(batch_limit=20, concurrency=4) for _ in range(2)]
    await app.execute(LINE_UP, "", 200)
    addresses = [row["email"] for row in await app.fetch("SELECT email FROM contacts ORDER BY brevo_due_at DESC, ctid DESC")]
    over = asyncio.Event()

    async def work(seed: int) -> int:
        """One long business transaction after another. Each locks its rows in the same order, as careful applications do."""
        rounds, chance = 0, random.Random(seed)
        connection = await asyncpg.connect(url)
        try:
            while not over.is_set():
                chosen = sorted(chance.sample(range(len(addresses)), 30))
                async with connection.transaction():
                    for place in chosen:
                        await connection.execute(
                            "UPDATE contacts SET first_name = $2, brevo_sync_status = 'Queued' WHERE email = $1",
                            addresses[place], f"{seed}.{rounds}",
                        )  # fmt: skip
                rounds += 1
        finally:
            await connection.close()
        return rounds

    async with running(url, workers[0]), running(url, workers[1]):
        clients = [asyncio.create_task(work(seed)) for seed in range(4)]
        await workers[0].reached(100)
        over.set()
        rounds = sum(await asyncio.gather(*clients))
        await until(app, ALL_COMPLETE)
    assert rounds > 10
    deadlocks = await app.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    assert deadlocks == 0
    last = {email: [crm.records[email][1]["FIRSTNAME"] for crm in workers if email in crm.records] for email in addresses}
    for row in await app.fetch("SELECT email, first_name FROM contacts"):
        assert row["first_name"] in last[row["email"]], "its last state was sent"


NOTHING_CLAIMED: Mapping[Any, Any] = {0: None, "kept": 0}


class Explained:
    """In place of the pool: reports what a statement would cost, in pages, and undoes it."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self.pages: list[int] = []

    async def fetch(self, statement: str, *arguments: object) -> list[Mapping[Any, Any]]:
        transaction = self._connection.transaction()
        await transaction.start()
        try:
            for scan in ("seqscan", "bitmapscan"):  # as the pool's own connections
                await self._connection.execute(f"SET LOCAL enable_{scan} = off")
            plan = await self._connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {statement}", *arguments)
        finally:
            await transaction.rollback()
        top = json.loads(plan)[0]["Plan"]
        self.pages.append(top["Shared Hit Blocks"] + top["Shared Read Blocks"])
        return [NOTHING_CLAIMED]

    async def fetch_briefly(self, _patience_s: float, statement: str, *arguments: object) -> list[Mapping[Any, Any]]:
        return await self.fetch(statement, *arguments)


@slow
async def test_a_snapshot_held_open_leaves_the_cost_of_a_claim_flat(app, other_app, url):
    """Dead rows kept by a long report are stepped over by the look from the start, not by every claim."""
    await app.execute(LINE_UP, "", 20_000)
    await app.execute("ANALYZE contacts")
    claims, full_looks = [], []
    async with open_worker(url, 1) as worker, other_app.transaction(isolation="repeatable_read"):
        contacts, pool = worker.contacts, worker.contacts._database
        await other_app.fetchval("SELECT count(*) FROM contacts")
        await contacts.claim(1, 1 << 32)
        for number in range(36):
            contacts.line._full_look_at = float("inf")
            cursor, explained = contacts.line._cursor, Explained(app)
            contacts._database = explained
            await contacts.claim(100, 1 << 32)  # as it finds nothing, it also looks from the start
            contacts._database, contacts.line._cursor = pool, cursor
            claims.append(explained.pages[0])
            full_looks.append(explained.pages[1])
            claimed = (await contacts.claim(500, (1 << 32) + number)).contacts
            await contacts.finish([Finish(one.id, one.token, Kind.DELIVERED, remote_id="7") for one in claimed])
    print(
        f"\npages of a claim of 100 under a held snapshot, at the start and 18,000 deliveries later: {claims[0]}, {claims[-1]}; "
        f"of the look from the start: {full_looks[0]}, {full_looks[-1]}"
    )
    assert max(claims[-5:]) < 1.5 * max(claims[:5])
