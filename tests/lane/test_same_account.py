"""A lane whose key is of another account than the ids in the rows sends and deletes nothing."""

import asyncio
from dataclasses import replace

import pytest
import structlog

from crm_sync import events
from crm_sync.core.codes import Code
from crm_sync.core.outcome import Kind, Outcome
from crm_sync.core.waits import USUAL
from crm_sync.crm.plug_in_errors import LONGEST_ACCOUNT
from crm_sync.errors import HeldBackError, NotSentError, OutageError, RefusedError, ThrottledError
from crm_sync.lane.same_account import SameAccount
from crm_sync.postgres.statements import render
from crm_sync.table import known_account
from crm_sync.table.known_account import KnownAccount
from tests.daemon.test_lane_faults import true
from tests.harness import ALL_COMPLETE, ScriptedCrm, running, until
from tests.steps import insert, open_worker

QUICK = replace(USUAL, tick_s=0.1, first_probe_s=0.02, longest_probe_s=0.05, longest_refused_probe_s=0.05)
NOTED = "SELECT account FROM crm_sync.lanes WHERE crm = 'brevo'"
SINCE = "SELECT account_since FROM crm_sync.lanes WHERE crm = 'brevo'"
HELD = "breaker_reason LIKE 'ANOTHER_ACCOUNT: the key is of blue, but%of red: %' FROM crm_sync.lanes WHERE crm = 'brevo'"
WITH_AN_ID = "UPDATE contacts SET brevo_contact_id = '7'"
FORGOTTEN = "UPDATE contacts SET brevo_contact_id = NULL"
PENDING = (
    "INSERT INTO crm_sync.tombstones (crm, contact_id, remote_id, policy, due_at) VALUES ('brevo', 'k', '7', 'delete', now())"
)


class Named(ScriptedCrm):
    """Of the account that the test names, and counts how often it is asked."""

    def __init__(self, name):
        super().__init__()
        self.name = name
        self.asked = 0
        self.deleted = []

    async def account(self):
        self.asked += 1
        await asyncio.sleep(0)
        if isinstance(self.name, Exception):
            raise self.name
        return self.name

    async def delete(self, deletions):
        self.deleted += deletions
        return [Outcome.delivered(None) for _ in deletions]


@pytest.fixture
async def account(url):
    """Makes the proof of a lane whose client is given."""
    async with open_worker(url, 1) as worker:
        known = KnownAccount(worker.database, worker.contacts.table)
        yield lambda client, waits=USUAL, news=lambda: None: SameAccount(
            "brevo", client, known, waits, worker=lambda: worker.number, news=news
        )


async def settled(account, name):
    await account(Named(name)).prove()


# Alone.


async def test_the_first_account_is_noted_and_the_crm_is_asked_once(app, account):
    client = Named("red")
    proof = account(client, replace(USUAL, account_again_s=0.0))
    await asyncio.gather(*[proof.prove() for _ in range(3)])
    await proof.prove()
    assert (client.asked, await app.fetchval(NOTED), await app.fetchval(SINCE)) == (1, "red", None)


@pytest.mark.parametrize("left", [WITH_AN_ID, PENDING])
async def test_another_account_is_refused_as_long_as_ids_are_left(app, account, left):
    await insert(app)
    await settled(account, "red")
    await app.execute(left)
    stranger = Named("blue")
    proof = account(stranger)
    for _ in range(2):
        with pytest.raises(
            RefusedError, match="the key is of blue, but ids in rows, deletions or requests in flight are of red"
        ) as refused:
            await proof.prove()
        assert refused.value.code == Code.ANOTHER_ACCOUNT
    await settled(account, "red")
    assert await app.fetchval(NOTED) == "red"
    await app.execute(FORGOTTEN)
    await app.execute("DELETE FROM crm_sync.tombstones")
    await proof.prove()
    assert (await app.fetchval(NOTED), stranger.asked) == ("blue", 1)
    assert await app.fetchval(SINCE) is not None


async def test_a_worker_that_still_has_the_former_key_compares_again_when_it_hears_of_another(app, account):
    """After the ids were forgotten, another worker with the new key has noted its account, and ids of it are in the rows."""
    await insert(app)
    known = "red"
    former = account(Named("red"), news=lambda: known)
    await former.prove()
    await settled(account, "blue")
    known = "blue"
    await app.execute(WITH_AN_ID)
    with pytest.raises(RefusedError, match=r"the key is of red, but ids in .* are of blue"):
        await former.prove()


async def test_what_another_worker_has_in_flight_may_bring_ids(app, url, account):
    await insert(app, "Queued")
    await settled(account, "red")
    async with open_worker(url, 2) as other:
        (contact,) = await other.claim()
        with pytest.raises(RefusedError, match="requests in flight are of red"):
            await settled(account, "blue")
        await other.finish(contact, Kind.DEFERRED)
        await settled(account, "blue")
    assert await app.fetchval(NOTED) == "blue"


@pytest.mark.parametrize("pending", [PENDING, PENDING.replace("'7'", "NULL"), PENDING.replace("now()", "NULL")])
async def test_a_deletion_that_is_not_done_belongs_to_the_former_account(app, account, pending):
    """Also one that is to be found by its address, and one that was refused and waits for a person."""
    await settled(account, "red")
    await app.execute(pending)
    with pytest.raises(RefusedError, match="deletions"):
        await settled(account, "blue")


async def test_another_name_for_the_same_account_brings_no_older_ids_back(app, account):
    await settled(account, "red")
    await settled(account, "blue")
    since = await app.fetchval(SINCE)
    assert since is not None
    await app.execute("UPDATE crm_sync.lanes SET account = NULL WHERE crm = 'brevo'")
    await settled(account, "blue of another name")
    assert await app.fetchval(SINCE) == since


async def test_ids_of_another_crm_do_not_count(app, account):
    await insert(app)
    await settled(account, "red")
    await app.execute("UPDATE contacts SET hubspot_contact_id = '7'")
    await app.execute(PENDING.replace("'brevo'", "'hubspot'"))
    await settled(account, "blue")
    assert await app.fetchval(NOTED) == "blue"


async def test_the_same_account_under_another_name_is_noted_once_the_former_is_forgotten(app, account):
    await insert(app)
    await settled(account, "red")
    await app.execute(WITH_AN_ID)
    await app.execute("UPDATE crm_sync.lanes SET account = NULL WHERE crm = 'brevo'")
    await settled(account, "blue")
    assert await app.fetchval(NOTED) == "blue"


@pytest.mark.parametrize("name", [None, ""])
async def test_a_crm_that_does_not_say_is_not_compared(app, account, name):
    await insert(app)
    await settled(account, "red")
    await app.execute(WITH_AN_ID)
    client = Named(name)
    proof = account(client)
    for _ in range(3):
        await proof.prove()
    assert (client.asked, await app.fetchval(NOTED)) == (1, "red")


async def test_a_long_name_is_the_same_the_next_time(app, account):
    await insert(app)
    name = "red\n" + "r" * 2 * LONGEST_ACCOUNT
    await settled(account, name)
    await app.execute(WITH_AN_ID)
    await settled(account, name)
    assert len(await app.fetchval(NOTED)) == LONGEST_ACCOUNT


@pytest.mark.parametrize(
    "error",
    [
        RefusedError(Code.REFUSED, "no right"),
        ThrottledError(Code.RATE_LIMITED, "429", 1.0),
        ValueError("of a plug-in"),
    ],
)
async def test_what_cannot_be_asked_holds_nothing_and_is_told_once(account, error):
    client = Named(error)
    proof = account(client, replace(USUAL, fields_unknown_s=0.0))
    with structlog.testing.capture_logs() as logged:
        for _ in range(3):
            await proof.prove()
    assert [entry["event"] for entry in logged] == [events.ACCOUNT_UNKNOWN]
    assert client.asked == 3


@pytest.mark.parametrize(
    "error", [HeldBackError("paused"), NotSentError(Code.UNREACHABLE, "no connection"), OutageError(Code.CRM_ERROR, "500")]
)
async def test_what_is_said_of_every_request_is_handed_on(account, error):
    with pytest.raises(type(error)):
        await account(Named(error)).prove()


async def test_a_name_that_is_no_text_is_a_fault_of_the_client(account):
    with structlog.testing.capture_logs() as logged:
        await account(Named(7)).prove()
    assert [entry["event"] for entry in logged] == [events.ACCOUNT_UNKNOWN]


async def test_while_the_lane_is_locked_nothing_is_sent(app, other_app, account, monkeypatch):
    """Another worker may be noting another account."""
    monkeypatch.setattr(known_account, "AGAIN_S", 0.001)
    await insert(app)
    proof = account(Named("blue"))
    async with other_app.transaction():
        await other_app.execute("UPDATE crm_sync.lanes SET account = 'red' WHERE crm = 'brevo'")
        with pytest.raises(HeldBackError, match="locked"):
            await proof.prove()
    await app.execute(WITH_AN_ID)
    with pytest.raises(RefusedError, match="of blue"):
        await proof.prove()


async def test_ids_are_looked_for_without_reading_the_table_also_when_they_were_just_forgotten(app, url, account):
    await settled(account, "red")
    await app.execute(
        "INSERT INTO contacts (email, brevo_contact_id) SELECT n || '@x.org', n FROM generate_series(1, 20000) AS n"
    )
    await app.execute("ANALYZE contacts")
    await app.execute(FORGOTTEN)
    async with open_worker(url, 2) as worker:
        statement = render("read_account", worker.contacts.table.variables)
    plan = "\n".join(row[0] for row in await app.fetch(f"EXPLAIN {statement}".replace("$1", "'blue'").replace("$2", "1")))
    assert "Seq Scan on contacts" not in plan


# In a worker.


async def test_the_lane_is_held_before_anything_is_sent_and_goes_on_once_the_ids_are_forgotten(app, url):
    await insert(app, "Queued")
    async with running(url, Named("red"), waits=QUICK):
        await until(app, ALL_COMPLETE)
    await app.execute("UPDATE contacts SET brevo_contact_id = '7', brevo_sync_status = 'Queued'")
    stranger = Named("blue")
    async with running(url, stranger, waits=QUICK):
        await until(app, HELD)
        assert stranger.requests == []
        assert await app.fetchval("SELECT brevo_processing_error IS NULL AND brevo_attempts <= 1 FROM contacts")
        while await app.fetchval("SELECT count(brevo_contact_id) FROM contacts"):  # a probe may have it in flight just now
            await app.execute(FORGOTTEN)
        await until(app, ALL_COMPLETE)
    assert len(stranger.requests) == 1


async def test_a_worker_hears_at_once_that_another_is_noted(app, url, account):
    await insert(app, "Queued")
    former = Named("red")
    async with running(url, former) as worker:
        await until(app, ALL_COMPLETE)
        await app.execute(FORGOTTEN)
        await settled(account, "blue")
        await true(lambda: worker._wiring.lanes["brevo"]._breaker.account == "blue")
        await app.execute("UPDATE contacts SET brevo_contact_id = '7', brevo_sync_status = 'Queued'")
        await until(app, "breaker_reason LIKE 'ANOTHER_ACCOUNT: the key is of red, %' FROM crm_sync.lanes WHERE crm = 'brevo'")
    assert len(former.requests) == 1


async def test_nothing_is_deleted_in_another_account(app, url):
    await app.execute("UPDATE crm_sync.lanes SET account = 'red' WHERE crm = 'brevo'")
    await app.execute(PENDING)
    stranger = Named("blue")
    async with running(url, stranger, waits=QUICK):
        await until(app, "claimed_by IS NULL AND due_at > now() + interval '30 s' FROM crm_sync.tombstones")
        assert (await app.fetchval("SELECT error FROM crm_sync.tombstones")).startswith("ANOTHER_ACCOUNT: the key is of blue")
    assert stranger.deleted == []
