"""A deleted contact's record is deleted too: the promise, from the row to the CRM."""

import asyncio
import json
from dataclasses import replace

import asyncpg
import pytest

from crm_sync import events
from crm_sync.core.outcome import Outcome
from crm_sync.core.waits import Waits
from crm_sync.errors import NotSentError, OutageError, RefusedError
from crm_sync.sandbox.server import Fault, Hold
from tests import roles
from tests.commands.test_pause import done
from tests.harness import ScriptedCrm, running, until
from tests.process import environment, process
from tests.tiers import slow

NONE_LEFT = "count(*) = 0 FROM crm_sync.tombstones"
PUT_BACK = "bool_or(brevo_sync_status = 'Queued' AND brevo_claimed_by IS NULL AND brevo_due_at > brevo_flipped_at) FROM contacts"
DUE_NOW = "UPDATE crm_sync.tombstones SET due_at = clock_timestamp()"
ADA = "ada.1@example.com"
ADAS = "2d1e0a1c-0000-4000-8000-000000000001"  # a key


class Burying(ScriptedCrm):
    """Keeps records by id, and the requested deletions; raises or answers as scripted.

    deletes: set while deletions may end.
    """

    delete_limit = 10
    trouble: Exception | None = None
    verdict: Outcome | None = None

    def __init__(self, **options):
        super().__init__(**options)
        self.records: dict[str, str] = {}
        self.deleted: list[str | None] = []
        self.erased: list[str | None] = []
        self.tried = 0
        self.deletes = asyncio.Event()
        self.deletes.set()

    async def deliver(self, contacts):
        outcomes = await super().deliver(contacts)
        self.records.update((said.remote_id, one.email) for one, said in zip(contacts, outcomes, strict=True))
        return outcomes

    async def find(self, emails):
        by_email = {email.lower(): record for record, email in self.records.items()}
        return [by_email.get(email.lower()) for email in emails]

    async def delete(self, deletions):
        self.tried += 1
        await self.deletes.wait()
        if self.trouble is not None:
            raise self.trouble
        if self.verdict is not None:
            return [self.verdict] * len(deletions)
        for one in deletions:
            (self.erased if one.erase else self.deleted).append(one.remote_id)
            self.records.pop(one.remote_id, None)
        return [Outcome.delivered(None)] * len(deletions)


QUICK_TICKS = Waits(tick_s=0.05)


@pytest.fixture
async def crm():
    return Burying()


@pytest.fixture
async def deletes(app):
    await set_policy(app, "delete")


async def set_policy(app, policy, crm="brevo"):
    await app.execute("SELECT crm_sync.set_on_delete($1, $2)", crm, policy)


async def insert(app, count=1, status="Queued"):
    await app.execute(
        "INSERT INTO contacts (email, first_name, brevo_sync_status) "
        "SELECT 'ada.' || n || '@example.com', 'Ada', $2 FROM generate_series(1, $1) AS n",
        count,
        status,
    )


async def delivered(app, count=1):
    """This many contacts, in the CRM."""
    await insert(app, count)
    await until(app, "bool_and(brevo_sync_status = 'Complete') FROM contacts")


async def delete_all(app):
    await app.execute("DELETE FROM contacts")


# The promise.


async def test_the_record_of_a_deleted_contact_is_deleted(app, url, crm, deletes):
    async with running(url, crm, waits=QUICK_TICKS):
        await delivered(app, 25)
        await app.execute("DELETE FROM contacts WHERE email <> $1", ADA)
        await until(app, NONE_LEFT)
    assert list(crm.records.values()) == [ADA]
    assert len(crm.deleted) == 24


async def test_by_default_the_record_stays_and_nothing_is_kept_of_the_contact(app, url, crm):
    async with running(url, crm, waits=QUICK_TICKS):
        await delivered(app)
        await delete_all(app)
        assert await app.fetchval(f"SELECT {NONE_LEFT}")
    assert crm.tried == 0


async def test_erasing_says_so_to_the_client(app, url, crm):
    await set_policy(app, "erase")
    async with running(url, crm, waits=QUICK_TICKS):
        await delivered(app)
        await delete_all(app)
        await until(app, NONE_LEFT)
    assert (len(crm.erased), crm.deleted) == (1, [])


async def test_what_was_deleted_under_a_policy_is_done_by_it_whatever_is_set_later(app, url, crm, deletes):
    async with running(url, crm, waits=QUICK_TICKS):
        await delivered(app)
        crm.trouble = NotSentError("UNREACHABLE", "no connection")
        await delete_all(app)
        await set_policy(app, "keep")
        crm.trouble = None
        await until(app, NONE_LEFT)
    assert len(crm.deleted) == 1


async def test_a_deletion_that_is_rolled_back_never_was(app, url, crm, deletes):
    async with running(url, crm, waits=QUICK_TICKS):
        await delivered(app)
        transaction = app.transaction()
        await transaction.start()
        await delete_all(app)
        await transaction.rollback()
        assert await app.fetchval(f"SELECT {NONE_LEFT}")
    assert crm.tried == 0


@slow
async def test_kill_9_in_the_middle_of_a_deletion_loses_none(app, url, brevo, deletes):
    hold = Hold()
    async with process(environment(url, brevo)) as worker:
        await delivered(app, 5)
        brevo.standing_faults.append(fault := Fault(lambda call: call.method == "DELETE", hold=hold))
        await delete_all(app)
        await hold.reached.wait()
        worker.kill()
    brevo.standing_faults.remove(fault)
    assert await app.fetchval("SELECT count(*) FROM crm_sync.tombstones WHERE claimed_by IS NOT NULL") > 0
    await app.execute(DUE_NOW)  # and not in five minutes, when no request of the killed worker can be under way
    async with process(environment(url, brevo)):
        await until(app, NONE_LEFT)
    hold.release()
    assert not brevo.contacts


async def test_a_contact_deleted_while_no_worker_runs_is_deleted_by_the_next(app, url, crm, deletes):
    async with running(url, crm, waits=QUICK_TICKS):
        await delivered(app)
    await delete_all(app)
    async with running(url, crm, waits=QUICK_TICKS):
        await until(app, NONE_LEFT)
    assert not crm.records


# In flight.


async def test_a_contact_deleted_in_flight_is_deleted_after_it_has_landed(app, url, crm, deletes):
    crm.gate.clear()
    async with running(url, crm, waits=QUICK_TICKS):
        await insert(app)
        await crm.reached(1)
        await delete_all(app)
        wait_s = await app.fetchval("SELECT extract(EPOCH FROM due_at - deleted_at)::float8 FROM crm_sync.tombstones")
        assert 299 < wait_s < 301
        crm.gate.set()
        await until(app, "count(*) = 1 FROM crm_sync.tombstones WHERE remote_id IS NULL")
        await app.execute(DUE_NOW)
        await until(app, NONE_LEFT)
    assert len(crm.deleted) == 1
    assert not crm.records


async def test_a_contact_that_never_landed_is_deleted_without_a_request(app, url, crm, deletes):
    crm.answer = lambda _: Outcome.failed("TIMEOUT", "no answer")
    async with running(url, crm, waits=QUICK_TICKS):
        await insert(app)
        await until(app, "brevo_processing_error IS NOT NULL FROM contacts")
        crm.records.clear()
        await delete_all(app)
        await until(app, NONE_LEFT)
    assert crm.tried == 0


@pytest.mark.parametrize("email", [None, "", "ada@", "n/a"])
async def test_a_contact_that_could_never_be_sent_is_looked_for_nowhere(app, url, crm, deletes, email):
    crm.find = None
    async with running(url, crm, waits=QUICK_TICKS):
        await app.execute("INSERT INTO contacts (email, brevo_sync_status) VALUES ($1, 'Queued')", email)
        await until(app, "brevo_sync_status = 'Error' FROM contacts")
        await delete_all(app)
        await until(app, NONE_LEFT)
    assert crm.tried == 0


class Nameless(Burying):
    """Knows contacts without an address by their first names."""

    def key(self, contact):
        return contact.fields.get("FIRSTNAME") or None


async def insert_nameless(app, key):
    await app.execute("INSERT INTO contacts (id, first_name, brevo_sync_status) VALUES ($1, 'Ada', 'Queued')", key)


async def test_one_without_an_address_deleted_in_flight_is_deleted_by_the_id_that_history_has(app, url, deletes):
    crm = Nameless()
    crm.gate.clear()
    async with running(url, crm, waits=QUICK_TICKS):
        await insert_nameless(app, ADAS)
        await crm.reached(1)
        await delete_all(app)
        crm.gate.set()
        await until(app, "count(*) = 1 FROM crm_sync.history WHERE outcome = 'lost'")
        await app.execute(DUE_NOW)
        await until(app, NONE_LEFT)
    assert crm.deleted == [f"crm-{ADAS}"]


# Records that must stay.


async def test_a_record_that_another_contact_shares_is_kept(app, url, crm, deletes):
    async with running(url, crm, waits=QUICK_TICKS):
        await delivered(app)
        await app.execute("INSERT INTO contacts (email, brevo_contact_id) SELECT 'twin', brevo_contact_id FROM contacts")
        await app.execute("DELETE FROM contacts WHERE email = $1", ADA)
        await until(app, NONE_LEFT)
    assert crm.tried == 0


async def test_a_crm_without_records_hears_of_each_though_they_have_one_id(app, url, crm, deletes):
    """As for n8n, whose id is that of an execution."""
    crm.keeps_records = False
    async with running(url, crm, waits=QUICK_TICKS):
        await delivered(app, 3)
        await app.execute("UPDATE contacts SET brevo_contact_id = 'execution 7'")
        await app.execute("DELETE FROM contacts WHERE email = $1", ADA)
        await until(app, NONE_LEFT)
    assert crm.deleted == ["execution 7"]


async def test_a_shared_record_that_is_found_by_address_is_kept(app, url, crm, deletes):
    """The row in flight has no id, its twin has one."""
    async with running(url, crm, waits=QUICK_TICKS):
        await delivered(app)
        [record] = crm.records
        crm.answer = lambda _: Outcome.delivered(record)
        crm.gate.clear()
        await app.execute("INSERT INTO contacts (email, brevo_sync_status) VALUES ('ADA.1@example.com', 'Queued')")
        await crm.reached(2)
        await app.execute("DELETE FROM contacts WHERE email = 'ADA.1@example.com'")
        crm.gate.set()
        await app.execute(DUE_NOW)
        await until(app, NONE_LEFT)
    assert crm.tried == 0
    assert list(crm.records) == [record]


async def comes_back(app, crm, insert_again):
    """The only contact is deleted and inserted again. The deletion comes due before the new delivery ends, and after."""
    [old] = crm.records
    crm.gate.clear()
    crm.answer = lambda _: Outcome.delivered(old)
    await delete_all(app)
    await insert_again()
    await crm.reached(2)
    # The person is in a request, so the record has not even been looked up.
    await until(app, "due_at > deleted_at AND claimed_by IS NULL AND attempts = 0 FROM crm_sync.tombstones")
    crm.gate.set()
    await until(app, "brevo_contact_id IS NOT NULL FROM contacts")
    await app.execute(DUE_NOW)
    await until(app, NONE_LEFT)


async def test_a_person_who_comes_back_keeps_the_record(app, url, crm, deletes):
    """The new delivery finds the old record by its address."""
    async with running(url, crm, waits=QUICK_TICKS):
        await delivered(app)
        again = "INSERT INTO contacts (email, brevo_sync_status) VALUES ('Ada.1@example.com ', 'Queued')"
        await comes_back(app, crm, lambda: app.execute(again))
    assert crm.tried == 0


async def test_a_person_without_an_address_who_comes_back_with_his_key_keeps_the_record(app, url, deletes):
    """As when all rows are loaded again: the client knows him by something else, which the deleted row no longer has."""
    crm = Nameless()
    async with running(url, crm, waits=QUICK_TICKS):
        await insert_nameless(app, ADAS)
        await until(app, "bool_and(brevo_sync_status = 'Complete') FROM contacts")
        await comes_back(app, crm, lambda: insert_nameless(app, ADAS))
    assert crm.tried == 0


@pytest.mark.parametrize("email", ["", " \t"])
async def test_one_without_an_address_waits_for_no_other_that_has_none(app, url, crm, deletes, email):
    crm.key = lambda contact: f"name {contact.fields.get('FIRSTNAME')}"
    put = "INSERT INTO contacts (email, first_name, brevo_sync_status) VALUES ($1, $2, 'Queued')"
    async with running(url, crm, waits=QUICK_TICKS):
        await app.execute(put, email, "Ada")
        await until(app, "bool_and(brevo_sync_status = 'Complete') FROM contacts")
        [record] = crm.records
        crm.gate.clear()
        await app.execute(put, email, "Bob")
        await crm.reached(2)
        await app.execute("DELETE FROM contacts WHERE first_name = 'Ada'")
        await until(app, NONE_LEFT)
        crm.gate.set()
    assert crm.deleted == [record]


async def test_who_comes_back_while_another_worker_deletes_his_record_is_sent_after_that(app, url, crm, deletes):
    """Otherwise the deletion might arrive last. The worker that deletes was alone when it began, and is stopping."""
    other = ScriptedCrm()
    async with running(url, crm, waits=QUICK_TICKS) as first:
        await delivered(app)
        [record] = crm.records
        crm.deletes.clear()
        await delete_all(app)
        await until(app, "count(*) = 1 FROM crm_sync.tombstones WHERE claimed_by IS NOT NULL")
        async with running(url, other, waits=replace(QUICK_TICKS, address_busy_s=0.05)):
            await until(app, "count(*) = 2 FROM crm_sync.living_workers")
            first.stop.set()
            await insert(app)
            await until(app, PUT_BACK)
            assert other.requests == []
            crm.deletes.set()
            await until(app, "bool_and(brevo_sync_status = 'Complete') FROM contacts")
            await until(app, NONE_LEFT)
    assert crm.deleted == [record]
    assert len(other.requests) == 1


@pytest.mark.parametrize(("key", "odd"), [("date", "0044-03-15 BC"), ("timestamptz", "9999-12-31 23:59:59+00")])
async def test_of_a_contact_whose_key_the_driver_cannot_name_the_record_is_deleted(empty_url, owner, crm, key, odd):
    await owner.execute(f"CREATE TABLE contacts (id {key} PRIMARY KEY, email text)")
    await asyncio.to_thread(roles.migrate, empty_url)
    await set_policy(owner, "delete")
    await owner.execute(
        f"INSERT INTO contacts (id, email, brevo_sync_status, brevo_contact_id) VALUES ('{odd}', $1, 'Complete', '7')", ADA
    )
    async with running(empty_url, crm, waits=QUICK_TICKS):
        await delete_all(owner)
        await until(owner, NONE_LEFT)
    assert crm.deleted == ["7"]


# Records that were taken from somebody nevertheless.

AGAIN = f"INSERT INTO contacts (id, email, brevo_contact_id, brevo_sync_status) VALUES ('{ADAS}', $1, $2, $3)"


class Meanwhile(Burying):
    """While it deletes, something happens in the table: on a connection of its own, with the id of the record."""

    def __init__(self, url, happens):
        super().__init__()
        self.url = url
        self.happens = happens

    async def delete(self, deletions):
        if not self.tried:
            [one] = deletions
            application = await asyncpg.connect(self.url)
            try:
                async with application.transaction():
                    await self.happens(application, one.remote_id)
            finally:
                await application.close()
        return await super().delete(deletions)


def inserted(email, status):
    async def insert(application, record):
        await application.execute(AGAIN, email, record, status)

    return insert


async def test_a_row_that_got_the_record_while_it_was_deleted_is_sent_again(app, url, deletes):
    crm = Meanwhile(url, inserted("somebody@example.com", "Complete"))
    async with running(url, crm, waits=QUICK_TICKS):
        await delivered(app)
        await delete_all(app)
        await until(app, NONE_LEFT)
        await crm.reached(2)
        await until(app, "bool_and(brevo_sync_status = 'Complete') FROM contacts")
    assert [one.email for request in crm.requests for one in request] == [ADA, "somebody@example.com"]
    assert [*crm.records.values()] == ["somebody@example.com"]


@pytest.mark.parametrize("status", ["New", "Error", "Skipped"])
async def test_one_that_is_not_delivered_is_left_alone(app, url, deletes, status):
    crm = Meanwhile(url, inserted(ADA, status))
    async with running(url, crm, waits=QUICK_TICKS):
        await delivered(app)
        await delete_all(app)
        await until(app, NONE_LEFT)
    assert await app.fetchval("SELECT brevo_sync_status::text FROM contacts") == status


async def test_while_one_is_in_flight_that_was_sent_before_the_deletion_is_not_over(app, url, deletes):
    """Another worker has it, and its outcome is not written yet."""

    async def claimed(application, _):
        await application.execute(AGAIN, ADA, None, "Queued")
        taken = "UPDATE contacts SET brevo_sync_status = 'Processing', brevo_claimed_by = (99::bigint << 32) | 1"
        await application.execute(taken)

    crm = Meanwhile(url, claimed)
    async with running(url, crm, waits=QUICK_TICKS):
        await delivered(app)
        [record] = crm.records
        await delete_all(app)
        await until(app, "attempts = 1 AND claimed_by IS NULL AND due_at > now() FROM crm_sync.tombstones")
        ended = "UPDATE contacts SET brevo_sync_status = 'Complete', brevo_claimed_by = NULL, brevo_due_at = NULL, "
        await app.execute(f"{ended} brevo_contact_id = $1", record)
        await app.execute(DUE_NOW)
        await until(app, NONE_LEFT)
        await crm.reached(2)
    assert crm.deleted == [record]


async def test_a_row_that_spells_the_domain_otherwise_waits_and_keeps_the_record(app, url, crm, deletes):
    async with running(url, crm, waits=QUICK_TICKS):
        await app.execute("INSERT INTO contacts (email, brevo_sync_status) VALUES ('ada@xn--bcher-kva.example', 'Queued')")
        await until(app, "bool_and(brevo_sync_status = 'Complete') FROM contacts")
        async with app.transaction():
            await delete_all(app)
            await app.execute("INSERT INTO contacts (email, brevo_sync_status) VALUES ('Ada@bücher.example', 'Queued')")
            later = "clock_timestamp() + interval '1 hour'"
            await app.execute(f"UPDATE contacts SET brevo_due_at = {later}")
            await app.execute("INSERT INTO crm_sync.brevo_line (due_at, key) SELECT brevo_due_at, id FROM contacts")
        await until(app, "due_at > now() + interval '5 s' AND claimed_by IS NULL AND attempts = 0 FROM crm_sync.tombstones")
    assert crm.tried == 0


async def test_a_deletion_without_an_answer_waits_until_it_can_no_longer_arrive(app, url, crm, deletes):
    async with running(url, crm, waits=QUICK_TICKS):
        await delivered(app)
        crm.trouble = OutageError("TIMEOUT", "no answer")
        await delete_all(app)
        await until(app, "attempts = 1 AND claimed_by IS NULL AND due_at > now() + interval '50 s' FROM crm_sync.tombstones")


# Trouble.


async def test_an_outage_costs_no_attempt_and_is_probed_by_a_deletion_alone(app, url, crm, deletes):
    async with running(url, crm, waits=QUICK_TICKS):
        await delivered(app)
        crm.trouble = NotSentError("UNREACHABLE", "no connection")
        await delete_all(app)
        await until(app, "breaker <> 'closed' FROM crm_sync.lanes WHERE crm = 'brevo'")
        assert await app.fetchval("SELECT attempts FROM crm_sync.tombstones WHERE claimed_by IS NULL") in (0, None)
        crm.trouble = None
        await app.execute("UPDATE crm_sync.lanes SET next_probe_at = now(), revision = revision + 1 WHERE crm = 'brevo'")
        await app.execute("SELECT pg_notify('crm_sync', 'news brevo')")
        await until(app, NONE_LEFT)
        await until(app, "breaker = 'closed' FROM crm_sync.lanes WHERE crm = 'brevo'")


async def test_a_deletion_that_needs_no_request_is_no_answer_to_a_probe(app, url, crm, deletes):
    async with running(url, crm, waits=QUICK_TICKS):
        await delivered(app)
        await app.execute(
            "UPDATE crm_sync.lanes SET breaker = 'open', openings = 1, next_probe_at = now(), revision = 9 WHERE crm = 'brevo'"
        )
        await app.execute("SELECT pg_notify('crm_sync', 'news brevo')")
        await app.execute("INSERT INTO contacts (email, brevo_contact_id) SELECT 'twin', brevo_contact_id FROM contacts")
        await app.execute("DELETE FROM contacts WHERE email = $1", ADA)
        await until(app, NONE_LEFT)
        await until(app, "breaker = 'open' AND revision > 10 FROM crm_sync.lanes WHERE crm = 'brevo'")
    assert crm.tried == 0


async def test_a_key_that_may_not_delete_stops_deletions_only(app, url, crm, deletes):
    async with running(url, crm, waits=QUICK_TICKS):
        await delivered(app)
        crm.trouble = RefusedError("REFUSED", "the key may not delete ada.1@example.com")
        await delete_all(app)
        await until(app, "error IS NOT NULL AND claimed_by IS NULL FROM crm_sync.tombstones")
        row = await app.fetchrow("SELECT attempts, error, due_at > clock_timestamp() + interval '50 s' FROM crm_sync.tombstones")
        assert tuple(row) == (0, "REFUSED: the key may not delete ***", True)
        await delivered(app)
    assert await app.fetchval("SELECT breaker FROM crm_sync.lanes WHERE crm = 'brevo'") == "closed"


async def test_a_paused_crm_hears_of_deletions_when_it_is_resumed(app, url, crm, deletes):
    async with running(url, crm, waits=QUICK_TICKS):
        await delivered(app)
        done(url, "pause", "brevo", "--reason", "key rotation")
        await delete_all(app)
        await until(app, "pg_sleep(0.3) IS NOT NULL")  # some ticks, because there is no event for nothing happening
        assert crm.tried == 0
        done(url, "resume", "brevo")
        await until(app, NONE_LEFT)


async def test_one_whose_retries_are_used_up_stays_with_its_reason_and_is_counted(app, url, crm, deletes, monkeypatch):
    monkeypatch.setenv("BREVO_SYNC_MAX_RETRIES", "1")
    crm.verdict = Outcome.failed("LOCKED", "busy with ada.1@example.com")
    async with running(url, crm, waits=QUICK_TICKS):
        await delivered(app)
        await delete_all(app)
        await until(app, "attempts = 1 AND error IS NOT NULL AND due_at > clock_timestamp() FROM crm_sync.tombstones")
        assert await counted(url) == (1, 0)
        await app.execute(DUE_NOW)
        await until(app, "due_at IS NULL FROM crm_sync.tombstones")
        assert await counted(url) == (0, 1)
        assert "LOCKED: busy with ***" in done(url, "status")
        # A person tries again.
        crm.verdict = None
        await app.execute("UPDATE crm_sync.tombstones SET due_at = now(), attempts = 0 WHERE due_at IS NULL")
        await until(app, NONE_LEFT)


async def counted(url):
    [lane] = [lane for lane in json.loads(done(url, "status", "--json"))["lanes"] if lane["crm"] == "brevo"]
    return lane["deletions_waiting"], lane["deletions_failed"]


async def test_the_client_of_a_fifth_crm_need_not_know_how_to_delete(app, url, deletes):
    async with running(url, ScriptedCrm(), waits=QUICK_TICKS):
        await delivered(app)
        await delete_all(app)
        await until(app, "due_at IS NULL AND starts_with(error, 'CANNOT_DELETE: ') FROM crm_sync.tombstones")


async def test_the_log_tells_of_deletions_without_personal_data(app, url, crm, deletes, capsys):
    crm.verdict = Outcome.rejected("REJECTED", "no such thing as ada.1@example.com")
    async with running(url, crm, waits=QUICK_TICKS):
        await delivered(app)
        await delete_all(app)
        await until(app, "due_at IS NULL FROM crm_sync.tombstones")
    said = capsys.readouterr()
    assert events.TOMBSTONE_FAILED in said.out + said.err
    assert "ada.1@" not in said.out + said.err


async def test_of_a_thousand_deletions_no_more_are_under_way_than_are_permitted(app, url, deletes):
    crm = Crowded(concurrency=4)
    async with running(url, crm, waits=QUICK_TICKS):
        await delivered(app, 1_000)
        await delete_all(app)
        await until(app, NONE_LEFT)
    assert len(crm.deleted) == 1_000
    assert crm.most == 4


class Crowded(Burying):
    """Answers when four requests are in flight, and records the maximum."""

    delete_limit = 5
    now = most = 0

    def __init__(self, **options):
        super().__init__(**options)
        self.four = asyncio.Barrier(4)

    async def delete(self, deletions):
        self.now += 1
        self.most = max(self.most, self.now)
        await self.four.wait()
        said = await super().delete(deletions)
        self.now -= 1
        return said


async def test_who_is_erased_is_on_no_line_of_history(app, url, crm):
    await set_policy(app, "erase")
    async with running(url, crm, waits=QUICK_TICKS):
        await app.execute("INSERT INTO contacts (email, brevo_sync_status) VALUES ($1, 'Queued')", ADA)
        await until(app, "bool_and(brevo_sync_status = 'Complete') FROM contacts")
        await app.execute("DELETE FROM contacts")
        await until(app, NONE_LEFT)
    assert len(crm.erased) == 1
    found = await app.fetch("SELECT operation, outcome, key, remote_id FROM crm_sync.deliveries ORDER BY at")
    assert [tuple(row) for row in found] == [("upsert", "delivered", None, None), ("delete", "delivered", None, None)]
