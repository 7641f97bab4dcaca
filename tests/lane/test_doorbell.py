"""No flip is stranded: only the doorbell, without the tick or any other safety net."""

import asyncio
import random

import asyncpg
import pytest

from crm_sync.core.waits import Waits
from tests.harness import ALL_COMPLETE, ScriptedCrm, running, until, until_asleep
from tests.tiers import slow

CLIENTS = 16
ROUNDS = 40
CONTACTS = 200
SEED = 20_261_123


NO_NET = Waits(tick_s=3600.0, full_look_s=3600.0, alert_look_s=3600.0)


async def flip_like_an_application(url: str, number: int) -> tuple[int, int]:
    """Transactions of one client: delayed commits, rollbacks, other isolation levels. (committed flips, rolled back)"""
    chance = random.Random(SEED + number)
    committed = rolled_back = 0
    connection = await asyncpg.connect(url)
    for _ in range(ROUNDS):
        isolation = "repeatable_read" if chance.random() < 0.3 else "read_committed"
        transaction = connection.transaction(isolation=isolation)
        await transaction.start()
        try:
            for _ in range(chance.choice((1, 1, 1, 3))):
                await connection.execute(
                    "UPDATE contacts SET first_name = first_name || 'x', brevo_sync_status = 'Queued' WHERE email = $1",
                    f"{chance.randrange(CONTACTS)}@example.com",
                )
            if chance.random() < 0.3:
                await asyncio.sleep(chance.random() * 0.02)
        except (asyncpg.SerializationError, asyncpg.DeadlockDetectedError):
            await transaction.rollback()  # caused by the application: it locks rows in any order
            continue
        if chance.random() < 0.15:
            await transaction.rollback()
            rolled_back += 1
        else:
            await transaction.commit()
            committed += 1
        if chance.random() < 0.4:
            await asyncio.sleep(chance.random() * 0.03)
    await connection.close()
    return committed, rolled_back


@pytest.mark.parametrize("workers", [1, 3])
async def test_no_flip_is_stranded(app, url, workers):
    await app.execute(
        "INSERT INTO contacts (email, first_name) SELECT n || '@example.com', '' FROM generate_series(0, $1 - 1) AS n", CONTACTS
    )
    heard = 0

    def hear(*_: object) -> None:
        nonlocal heard
        heard += 1

    ear = await asyncpg.connect(url)
    crms = [ScriptedCrm() for _ in range(workers)]
    async with asyncio.timeout(60):
        first = running(url, crms[0], waits=NO_NET)
        async with first:
            others = [running(url, crm, waits=NO_NET) for crm in crms[1:]]
            for other in others:
                await other.__aenter__()
            await until_asleep(app)
            await ear.add_listener("crm_sync", hear)
            results = await asyncio.gather(*(flip_like_an_application(url, number) for number in range(CLIENTS)))
            await until(app, "bool_and(brevo_sync_status IN ('Complete', 'New')) FROM contacts")
            for other in others:
                await other.__aexit__(None, None, None)

    flips = sum(committed for committed, _ in results)
    assert flips > CLIENTS * ROUNDS / 2
    sends = sum(len(crm.requests) for crm in crms)
    rows = await app.fetch("SELECT id, first_name FROM contacts WHERE brevo_sync_status = 'Complete'")
    last_sent = {}
    for crm in crms:
        assert crm.twice_in_flight == []
    if workers == 1:
        last_sent = crms[0].store
        assert all(last_sent[row["id"]]["FIRSTNAME"] == row["first_name"] for row in rows)
    assert heard < flips / 2, f"{heard} notifications for {flips} transactions: the bell is no doorbell"
    assert sends <= flips * 3
    await ear.close()


async def test_a_flip_is_delivered_by_another_worker_when_the_keeper_is_gone(app, url):
    first, second = ScriptedCrm(), ScriptedCrm()
    async with running(url, first, waits=NO_NET) as keeper:
        await until_asleep(app)
        async with running(url, second, waits=NO_NET):
            await until(app, "count(*) = 2 FROM crm_sync.workers")
            keeper.stop.set()
            await until(app, "count(*) = 1 FROM crm_sync.workers")
            await app.execute("INSERT INTO contacts (email, brevo_sync_status) VALUES ('a@example.com', 'Queued')")
            # No worker tends the bell now, and there is no tick: the flip is found by the second worker's next look.
            assert second.requests == []
            await app.execute("SELECT pg_notify('crm_sync', 'brevo')")
            await until(app, ALL_COMPLETE)
    assert len(second.requests) == 1


BOTH_HAVE_PERMITS = "count(DISTINCT worker) = 2 FROM crm_sync.permits"


async def test_sleeping_workers_are_called_when_a_claim_comes_back_full(app, url, monkeypatch):
    monkeypatch.setenv("BREVO_SYNC_SCHEDULER_BATCH_SIZE", "5")
    first, second = ScriptedCrm(concurrency=4), ScriptedCrm(concurrency=4)
    first.gate.clear()
    second.gate.clear()
    async with running(url, first, waits=NO_NET), running(url, second, waits=NO_NET):
        await until(app, BOTH_HAVE_PERMITS)  # the first keeps those it has requests for
        await until_asleep(app)
        await app.execute(
            "INSERT INTO contacts (email, brevo_sync_status) SELECT n || '@example.com', 'Queued' FROM generate_series(1, 40) n"
        )
        await first.reached(1)
        await second.reached(1)
        first.gate.set()
        second.gate.set()
        await until(app, ALL_COMPLETE)
    assert len(first.store) + len(second.store) == 40


@slow
async def test_an_idle_worker_sends_no_statement(app, url):
    async with running(url, ScriptedCrm(), waits=NO_NET):
        await until_asleep(app)
        last = (
            "SELECT max(state_change) FROM pg_stat_activity "
            "WHERE application_name LIKE 'crm-sync%' AND datname = current_database()"
        )
        settled = await app.fetchval(last)
        while True:  # the looks at the start come to an end
            await asyncio.sleep(0.3)
            now = await app.fetchval(last)
            if now == settled:
                break
            settled = now
        await asyncio.sleep(2)
        assert await app.fetchval(last) == settled
