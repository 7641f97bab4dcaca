"""crm-sync sync: one contact now, by a worker of its own. To all other workers it is a normal worker."""

import asyncio
import json
import re
import signal
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg
import pytest
from structlog.testing import capture_logs

from crm_sync import events
from crm_sync.adoption.table import AdoptionRequest
from crm_sync.core.outcome import Kind
from crm_sync.core.rate import Budget, parse
from crm_sync.core.waits import USUAL, Waits
from crm_sync.daemon.installation import Installation
from crm_sync.daemon.short_worker import ShortWorker
from crm_sync.errors import ConfigurationError, DeclinedError
from crm_sync.limits.rate_limit import RateLimit
from crm_sync.postgres import locks
from crm_sync.postgres.pool import Database
from crm_sync.sandbox.__main__ import UNLIMITED
from crm_sync.sandbox.process import CRMS, settings
from crm_sync.sandbox.server import Answer, Fault, Hold, asks_for_account, is_about_contacts
from crm_sync.settings import LaneSettings
from crm_sync.table.mapping import FieldMapping
from crm_sync.table.named_claim import NamedClaim
from crm_sync.table.schema import read_schema
from tests.harness import ALL_COMPLETE, TIMEOUT_S, ScriptedCrm, account, running, until, until_asleep
from tests.process import KEY, ended, environment, process
from tests.roles import WORKER, adopt, as_worker, let_in
from tests.steps import insert, orphan, pair, read

ADDRESS = "ada@example.com"
ROW = "SELECT xmin::text, * FROM contacts"
# A session is waiting for a lock on this table.
WAITS = (
    "EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = '{}'::regclass "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))"
)


def sync(env, *arguments, crm="brevo"):
    return process(env, "sync", "--email", ADDRESS, *(("--crm", crm) if crm else ()), *arguments)


async def synced(env, *arguments, crm="brevo") -> tuple[int, str]:
    """(exit code, output). It prints nothing to standard error."""
    async with sync(env, *arguments, crm=crm) as command:
        code, out, err = await ended(command)
    assert err == "", (err, out)
    return code, out


def words(out: str) -> str:
    return " ".join(out.split())


@asynccontextmanager
async def locked(url, table):
    """The table cannot be written to meanwhile."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            await connection.execute(f"LOCK TABLE {table} IN EXCLUSIVE MODE")
            yield
    finally:
        await connection.close()


# What it does.


async def test_a_contact_in_line_is_delivered_and_shown(app, url, brevo):
    contact = await insert(app, "Queued")
    code, out = await synced(environment(url, brevo))
    assert code == 0
    assert await pair(app, contact) == ("Complete", "Complete")
    row = await read(app, contact)
    assert (row["attempts"], row["claimed_by"], row["due_at"]) == (1, None, None)
    assert [record.email for record in brevo.contacts.values()] == [ADDRESS]
    said = words(out)
    assert f"row {contact}" in said
    assert f"POST {brevo.url}/v3/contacts" in said
    assert '"FIRSTNAME": "Ada"' in said
    assert "answered 201" in said
    assert f"outcome delivered as record {row['contact_id']}" in said
    for column, value in (("brevo_sync_status", "Complete"), ("brevo_contact_id", row["contact_id"]), ("brevo_attempts", "1")):
        assert f"{column} {value}" in said


@pytest.mark.parametrize("crm", CRMS)
async def test_it_delivers_to_each_crm(app, url, crm):
    async with UNLIMITED[crm](0) as sandbox:
        await insert(app)
        code, out = await synced(environment(url) | settings(crm, sandbox.url), crm=crm)
        assert code == 0, out
        assert len(sandbox.table("contacts")) == 1
    assert await app.fetchval(f"SELECT {crm}_sync_status::text FROM contacts") == "Complete"


@pytest.mark.parametrize(("crm", "emptied"), [("brevo", '"FIRSTNAME": ""'), ("n8n", '"first_name": null')])
async def test_what_it_has_sent_it_empties_again(app, url, crm, emptied):
    await app.execute("SELECT crm_sync.set_clearing($1, true)", crm)
    await insert(app)
    async with UNLIMITED[crm](0) as sandbox:
        env = environment(url) | settings(crm, sandbox.url) | {f"{crm.upper()}_EMPTY": "clear"}
        for name in ("Ada", None):
            await app.execute("UPDATE contacts SET first_name = $1", name)
            code, out = await synced(env, crm=crm)
            assert code == 0, out
    assert emptied in out


@pytest.mark.parametrize("status", ["New", "Selected", "Skipped", "Complete", "Error"])
async def test_one_that_is_not_in_line_is_flipped(app, url, brevo, status):
    contact = await insert(app, status)
    code, _ = await synced(environment(url, brevo))
    assert code == 0
    row = await read(app, contact)
    assert row["sync_status"] == "Complete"
    assert row["flipped_at"] is not None


async def test_one_that_waits_for_a_retry_goes_now_and_keeps_its_flip_and_its_attempts(app, url, brevo):
    contact = await insert(app, "Queued")
    await app.execute("UPDATE contacts SET brevo_claimed_by = 1, brevo_sync_status = 'Processing'")
    await app.execute(
        "UPDATE contacts SET brevo_claimed_by = NULL, brevo_sync_status = 'Queued', brevo_processing_status = 'Queued', "
        "brevo_due_at = now() + interval '1 hour', brevo_attempts = 1, brevo_processing_error = 'TIMEOUT: slow'"
    )
    before = await read(app, contact)
    code, out = await synced(environment(url, brevo))
    assert code == 0
    assert "(in 60 min), after TIMEOUT: slow" in words(out) or "(in 1 h), after TIMEOUT: slow" in words(out)
    row = await read(app, contact)
    assert (row["flipped_at"], row["attempts"], row["processing_error"]) == (before["flipped_at"], 2, None)


async def test_a_flip_that_no_trigger_saw_is_sent_too(app, url, brevo):
    await app.execute("SET session_replication_role = replica")
    await insert(app, "Queued")
    assert (await synced(environment(url, brevo)))[0] == 0
    assert await app.fetchval(f"SELECT {ALL_COMPLETE}")


def about_contacts(sandbox):
    return sum(is_about_contacts(request) for request in sandbox.requests)


async def test_it_goes_where_it_is_wanted_unless_a_crm_is_named(app, url):
    async with AsyncExitStack() as stack:
        sandboxes = {crm: await stack.enter_async_context(UNLIMITED[crm](0)) for crm in CRMS}
        await insert(app, "Queued")
        await app.execute("UPDATE contacts SET n8n_sync_status = 'Queued', mautic_sync_status = 'Skipped'")
        env = environment(url)
        for crm, sandbox in sandboxes.items():
            env |= settings(crm, sandbox.url)
        code, out = await synced(env, crm=None)
        assert code == 0, out
        assert {crm: about_contacts(sandbox) for crm, sandbox in sandboxes.items()} == {
            "hubspot": 0,
            "brevo": 1,
            "mautic": 0,
            "n8n": 1,
        }
        assert "skipped to send it anyway: --crm mautic" in words(out)
        assert await app.fetchval("SELECT mautic_sync_status::text FROM contacts") == "Skipped"
        await app.execute("UPDATE contacts SET n8n_sync_status = 'New', brevo_sync_status = 'New'")
        code, _ = await synced(env, crm=None)
        assert code == 1, "nobody has asked for it, so nothing was delivered"
        assert sum(map(about_contacts, sandboxes.values())) == 2


async def test_rows_with_one_address_are_one_delivery_and_all_in_line_get_its_id(app, url, brevo):
    ids = [await insert(app, "Queued", address) for address in (ADDRESS, ADDRESS.upper(), f" {ADDRESS}")]
    out_of_line = await insert(app, "New")
    await app.execute("UPDATE contacts SET first_name = 'Last', brevo_sync_status = 'Queued' WHERE id = $1", ids[1])
    code, out = await synced(environment(url, brevo))
    assert code == 0
    assert f"row {ids[1]}" in words(out)
    assert [record.attributes["FIRSTNAME"] for record in brevo.contacts.values()] == ["Last"]
    assert {(await read(app, one))["contact_id"] for one in ids} == {str(*brevo.contacts)}
    assert await pair(app, out_of_line) == ("New", None)


async def test_who_owns_the_account_is_not_shown(app, url, brevo):
    await insert(app, "Queued")
    _, out = await synced(environment(url, brevo))
    assert any(map(asks_for_account, brevo.requests))
    assert "/v3/account" in out
    assert "owner@example.com" not in out


async def test_it_leaves_no_trace_as_a_worker(app, url, brevo):
    await insert(app)
    await synced(environment(url, brevo))
    assert await app.fetchval("SELECT count(*) FROM crm_sync.workers") == 0
    assert await app.fetchval("SELECT last_value FROM crm_sync.workers_id_seq") == 1, "it was registered"


async def test_keys_are_masked_and_a_terminal_is_told_nothing_that_it_obeys(app, url, brevo):
    await insert(app)
    said = f'{{"message": "\x1b[31m {KEY} \x9b", "code": "invalid_parameter"}}'.encode()
    brevo.next_faults.append(Fault(answer=Answer(400, said, {"Content-Type": "application/json"})))
    code, out = await synced(environment(url, brevo))
    assert code == 1
    assert KEY not in out
    assert "api-key: ***" in out
    assert not set(out) & set("\x1b\x9b")


async def test_an_answer_is_cut_to_what_a_person_reads(app, url, brevo):
    await insert(app)
    brevo.next_faults.append(Fault(answer=Answer(400, b"[" + b'"word",\n' * 100_000 + b'"end"]')))
    _, out = await synced(environment(url, brevo))
    _, _, delivery = out.partition("POST ")
    assert len(delivery.splitlines()) < 90
    assert re.search(r"\.\.\. \(truncated; \d,\d{3},\d{3} characters in all\)", out)


# What it does not do.


async def test_a_contact_in_flight_is_left_to_the_worker_that_has_it(app, url, brevo):
    crm = ScriptedCrm()
    crm.gate.clear()
    async with running(url, crm):
        await insert(app, "Queued")
        await crm.reached(1)
        before = await app.fetchrow(ROW)
        worker = await app.fetchrow("SELECT id, pid FROM crm_sync.workers")
        code, out = await synced(environment(url, brevo))
        assert code == 1
        assert f"not sent it is in flight already, with worker {worker['id']} (process {worker['pid']}" in words(out)
        assert await app.fetchrow(ROW) == before
        crm.gate.set()
        await until(app, ALL_COMPLETE)
    assert (len(crm.requests), brevo.request_count) == (1, 0)


async def test_a_twin_in_flight_is_the_same_address_and_nothing_is_sent(app, url, brevo):
    crm = ScriptedCrm()
    crm.gate.clear()
    async with running(url, crm):
        await insert(app, "Queued")
        await crm.reached(1)
        other = await insert(app, "New", ADDRESS.upper())
        code, _ = await synced(environment(url, brevo))
        assert code == 1
        assert await pair(app, other) == ("New", None)
        crm.gate.set()
    assert brevo.request_count == 0


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("held_since = now(), held_reason = 'key rotation'", "key rotation. To go on: crm-sync resume brevo"),
        (
            "breaker = 'open', breaker_reason = 'TIMEOUT: slow', openings = 2, next_probe_at = now() + interval '1 h'",
            "down since",
        ),
        (
            "breaker = 'throttled', breaker_reason = 'slow down', next_probe_at = now() + interval '1 h'",
            "too many requests since",
        ),
    ],
)
async def test_a_crm_that_may_not_be_called_is_not_and_the_row_stays_as_it_was(app, url, brevo, change, why):
    await insert(app)
    await app.execute(f"UPDATE crm_sync.lanes SET {change} WHERE crm = 'brevo'")
    before = await app.fetchrow(ROW)
    code, out = await synced(environment(url, brevo))
    assert code == 1
    assert "not sent brevo is" in words(out)
    assert why in words(out)
    assert ("crm-sync run" in out) == ("held" not in change), "only workers probe, and none runs"
    assert await app.fetchrow(ROW) == before
    assert brevo.request_count == 0


async def test_without_credentials_it_says_so(app, url):
    await insert(app, "Queued")
    code, out = await synced(environment(url))
    assert code == 1
    assert "not sent there are no credentials" in words(out)


async def test_an_address_that_nobody_has_is_said_so(url, brevo):
    assert await synced(environment(url, brevo)) == (1, f"No contact has the address {ADDRESS}.\n")


async def test_an_unknown_crm_is_a_usage_error_that_names_those_there_are(url, brevo):
    async with sync(environment(url, brevo), crm="pipedrive") as command:
        code, out, err = await ended(command)
    assert (code, out) == (2, "")
    assert "hubspot, brevo, mautic, n8n" in err


# Next to workers.


async def test_no_worker_sees_the_flip_before_it_is_in_flight(app, other_app, url, brevo):
    """The claim is held up between the two: for all others, the row is still unchanged."""
    contact = await insert(app, "Complete")
    await app.execute(
        "CREATE TABLE gatekeeper (id integer); GRANT SELECT ON gatekeeper TO PUBLIC; "
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS "
        "$$BEGIN LOCK TABLE gatekeeper IN SHARE MODE; RETURN NEW; END$$; "
        "CREATE TRIGGER wait BEFORE UPDATE ON contacts FOR EACH ROW WHEN (NEW.brevo_sync_status = 'Processing') "
        "EXECUTE FUNCTION wait()"
    )
    crm = ScriptedCrm()
    async with running(url, crm):
        await until_asleep(app)
        async with locked(url, "gatekeeper"), sync(environment(url, brevo)) as command:
            await until(other_app, WAITS.format("gatekeeper"))
            assert await pair(other_app, contact) == ("Complete", None)
            command.kill()
            await command.wait()
        # Uncommitted changes are undone.
        await until(app, f"NOT {WAITS.format('gatekeeper')}")
        assert await pair(app, contact) == ("Complete", None)
    assert crm.requests == []


async def test_a_worker_that_runs_takes_nothing_from_it(app, url, brevo):
    crm = ScriptedCrm()
    async with running(url, crm):
        await until_asleep(app)
        for number in range(1, 4):
            await app.execute("DELETE FROM contacts")
            await insert(app, "New")
            code, out = await synced(environment(url, brevo))
            assert (code, brevo.request_count >= number) == (0, True), out
    assert crm.requests == []


async def held_up(app, url, brevo, meanwhile):
    """This happens after the command has looked, and before it claims. (exit code, output)"""
    env = environment(url, brevo, BREVO_LIMITS="100/s")
    async with sync(env) as command:
        async with locked(url, "crm_sync.budgets"):
            await until(app, WAITS.format("crm_sync.budgets"))
            await meanwhile()
        code, out, err = await ended(command)
    assert err == ""
    assert brevo.request_count == 0
    return code, words(out)


async def test_where_a_worker_gets_it_first_it_says_so(app, url, brevo):
    await insert(app, "Queued")

    async def claim():
        await orphan(app)

    code, said = await held_up(app, url, brevo, claim)
    assert code == 1
    assert "not sent a worker was quicker: it is in flight with worker" in said
    assert "brevo_sync_status Processing" in said


async def test_where_a_worker_has_finished_it_meanwhile_it_says_so(app, url, brevo):
    await insert(app, "Queued")

    async def finish():
        await orphan(app)
        await app.execute(
            "UPDATE contacts SET brevo_claimed_by = NULL, brevo_due_at = NULL, brevo_sync_status = 'Complete', "
            "brevo_processing_status = 'Complete', brevo_synced_at = now()"
        )

    code, said = await held_up(app, url, brevo, finish)
    assert (code, "a worker was quicker, and has finished it" in said) == (1, True), said


async def test_a_row_that_the_application_has_locked_is_not_waited_for(app, other_app, url, brevo):
    await insert(app)
    async with other_app.transaction():
        await other_app.execute("SELECT FROM contacts FOR UPDATE")
        code, out = await synced(environment(url, brevo))
    assert code == 1
    assert "a transaction of the application has locked the row: try again" in words(out)
    assert brevo.request_count == 0


async def test_a_pause_that_comes_before_the_claim_undoes_the_flip(app, url, brevo):
    await insert(app)
    before = await app.fetchrow(ROW)

    async def pause():
        await app.execute("UPDATE crm_sync.lanes SET held_since = now(), held_reason = 'stop', revision = revision + 1")

    code, said = await held_up(app, url, brevo, pause)
    assert code == 1
    assert "not sent brevo is paused by hand" in said
    after = await app.fetchrow(ROW)
    assert dict(after) == dict(before)


async def test_its_request_counts_against_the_limits_of_the_account(app, url, brevo):
    await insert(app)
    assert (await synced(environment(url, brevo, BREVO_LIMITS="100/h")))[0] == 0
    used = json.loads(await app.fetchval("SELECT budget::text FROM crm_sync.budgets WHERE crm = 'brevo'"))
    assert used != Budget().to_json()


async def test_where_the_limit_is_used_up_it_says_until_when_and_leaves_the_row_alone(app, url, brevo):
    await insert(app)
    before = await app.fetchrow(ROW)
    async with Database(as_worker(url), size=1) as database:
        assert await RateLimit(database, "brevo", parse("1/h")).ahead(1) == (1, 0.0)
    code, out = await synced(environment(url, brevo, BREVO_LIMITS="1/h"))
    assert code == 1
    assert re.search(r"not sent the account's limit is used up for (1 h|\d+ min)", words(out))
    assert brevo.request_count == 0
    assert await app.fetchrow(ROW) == before


@asynccontextmanager
async def short_worker(url, crm, waits=USUAL):
    """What delivers a contact by its key, in the test's own process."""
    async with Database(as_worker(url), size=4) as database:
        schema = await read_schema(database)
        mapping = FieldMapping("email::text", {"FIRSTNAME": "first_name"})
        installation = Installation(schema, {"brevo": LaneSettings(sync_retry_delay_minutes=1.0)}, {"brevo": mapping})
        async with ShortWorker(installation, database, as_worker(url), waits) as worker:

            async def deliver(contact):
                return await worker.deliver_one("brevo", account(crm), contact, [], flip=True)

            yield deliver


# Another worker, alive as long as this connection is open.
ANOTHER = f"""
WITH other AS (
    INSERT INTO crm_sync.workers (host, pid, version, backend_pid) VALUES ('other', 1, '0', pg_backend_pid()) RETURNING id
)
SELECT id, pg_advisory_lock({locks.WORKER}, id) FROM other
"""


async def take_the_only_permit(app):
    other = await app.fetchval(ANOTHER)
    await app.execute("INSERT INTO crm_sync.permits SELECT id, 1, $1 FROM crm_sync.lanes WHERE crm = 'brevo'", other)


async def test_it_waits_for_its_turn_where_others_have_all_requests_under_way(app, url):
    crm = ScriptedCrm(concurrency=1)
    contact = await insert(app)
    await take_the_only_permit(app)
    async with short_worker(url, crm) as deliver:
        delivery = asyncio.create_task(deliver(contact))
        await until(app, "count(*) = 2 FROM crm_sync.workers")
        assert crm.requests == []
        await app.execute("DELETE FROM crm_sync.permits")
        await app.execute("SELECT pg_notify('crm_sync', 'news brevo')")  # as when a worker gives it back
        async with asyncio.timeout(TIMEOUT_S):
            assert (await delivery).kind is Kind.DELIVERED


async def test_it_does_not_wait_for_ever_and_leaves_the_row_alone(app, url):
    crm = ScriptedCrm(concurrency=1)
    contact = await insert(app)
    before = await app.fetchrow(ROW)
    await take_the_only_permit(app)
    async with short_worker(url, crm, Waits(turn_patience_s=0.2)) as deliver:
        with pytest.raises(DeclinedError, match="other workers have as many requests in flight as are allowed"):
            await deliver(contact)
    assert await app.fetchrow(ROW) == before
    assert crm.requests == []


async def test_a_claim_that_is_interrupted_leaves_its_contact_to_other_workers(app, url, monkeypatch):
    """It may have been executed. So the worker stays registered, and any running worker looks for its contacts."""
    claim, claimed = NamedClaim.claim, asyncio.Event()

    async def never_answered(self, ids, token, *, flip):
        await claim(self, ids, token, flip=flip)
        claimed.set()
        await asyncio.get_running_loop().create_future()

    crm = ScriptedCrm()
    contact = await insert(app)
    with monkeypatch.context() as patched:
        patched.setattr(NamedClaim, "claim", never_answered)
        async with short_worker(url, crm) as deliver:
            delivery = asyncio.create_task(deliver(contact))
            await asyncio.wait_for(claimed.wait(), TIMEOUT_S)
            delivery.cancel()
            await asyncio.wait([delivery])
    assert crm.requests == []
    assert await app.fetchval("SELECT count(*) FROM crm_sync.workers") == 1
    async with running(url, crm):
        await until(app, ALL_COMPLETE)


async def test_an_outcome_that_may_not_be_written_is_told_at_once(app, url):
    """Not only after the patience for a locked row is over."""
    crm = ScriptedCrm()
    crm.gate.clear()
    contact = await insert(app)

    async def deliver_and_lose_the_right():
        async with short_worker(url, crm, Waits(finish_patience_s=3600.0)) as deliver:
            delivery = asyncio.create_task(deliver(contact))
            await crm.reached(1)
            await app.execute(f"REVOKE UPDATE ON contacts FROM {WORKER}")
            crm.gate.set()
            await asyncio.wait_for(delivery, TIMEOUT_S)

    with pytest.raises(ConfigurationError, match="permission denied"):
        await deliver_and_lose_the_right()


async def test_an_address_that_another_worker_has_under_way_goes_back_in_line(app, url):
    crm = ScriptedCrm()
    contact = await insert(app)
    await app.execute(ANOTHER)
    await app.execute("SELECT pg_advisory_lock(hashtextextended('brevo ' || $1, $2))", ADDRESS, locks.ADDRESS_SEED)
    async with short_worker(url, crm) as deliver:
        finish = await deliver(contact)
    assert finish.kind is Kind.DEFERRED
    assert crm.requests == []
    assert await pair(app, contact) == ("Queued", "Queued")


# Its outcomes.


async def test_a_contact_that_is_refused_is_in_error_as_ever(app, url, brevo):
    contact = await insert(app)
    refusal = {"code": "invalid_parameter", "message": "Invalid name"}
    brevo.next_faults.append(Fault(answer=Answer(400, refusal)))
    code, out = await synced(environment(url, brevo))
    assert code == 1
    assert await pair(app, contact) == ("Error", "Error")
    assert "answered 400" in words(out)
    assert re.search(r"outcome rejected: REJECTED: Brevo refused the contact \(400: .*Invalid name\)", words(out))


async def test_a_crm_that_fails_marks_no_contact(app, url, brevo):
    contact = await insert(app)
    brevo.standing_faults.append(Fault(answer=Answer(503, b"down")))
    code, out = await synced(environment(url, brevo))
    assert code == 1
    assert "answered 503 down outcome not delivered: the CRM said nothing about this contact. It is back in line" in words(out)
    row = await read(app, contact)
    assert (row["sync_status"], row["attempts"], row["processing_error"]) == ("Queued", 0, None)


async def test_a_page_that_may_be_meant_for_everybody_marks_no_contact_and_is_told(app, url, brevo):
    contact = await insert(app)
    brevo.standing_faults.append(Fault(answer=Answer(403, b"<html>Blocked by <b>rule</b> 7</html>")))
    code, out = await synced(environment(url, brevo))
    assert code == 1
    assert re.search(
        r"outcome not delivered: REFUSED: .*\(403: Blocked by rule 7\): check BREVO_BASE_URL.* back in line", words(out)
    )
    row = await read(app, contact)
    assert (row["sync_status"], row["attempts"], row["processing_error"]) == ("Queued", 0, None)


async def test_a_crm_that_is_not_there_is_told_as_no_answer(app, url, brevo):
    await insert(app)
    await brevo.stop()
    code, out = await synced(environment(url, brevo))
    assert code == 1
    assert "no answer: UNREACHABLE: no connection" in words(out)


async def test_wrong_credentials_open_the_breaker_for_all_and_are_told(app, url, brevo):
    await insert(app)
    async with sync(environment(url, brevo, BREVO_API_KEY="xkeysib-a-wrong-key")) as command:
        code, out, _ = await ended(command)
    assert code == 1
    assert "It is back in line; brevo is down since" in words(out)
    assert "xkeysib-a-wrong-key" not in out
    assert await app.fetchval("SELECT breaker FROM crm_sync.lanes WHERE crm = 'brevo'") == "open"


async def test_an_address_that_is_none_is_rejected_without_a_request(app, url, brevo):
    contact = await insert(app, "New", "ada@example")
    async with process(environment(url, brevo), "sync", "--email", "ada@example", "--crm", "brevo") as command:
        code, out, _ = await ended(command)
    assert code == 1
    assert "outcome rejected: INVALID_EMAIL: the email address is malformed" in words(out)
    assert await pair(app, contact) == ("Error", "Error")
    assert brevo.request_count == 0


async def test_a_mapping_that_fails_for_it_is_named_and_nothing_is_sent(app, url, brevo, tmp_path):
    mapping = tmp_path / "mapping.toml"
    mapping.write_text('[brevo]\nFIRSTNAME = "first_name"\nSHARE = "1 / (length(first_name) - 3)"\n')
    let_in(url, MAPPING_FILE=str(mapping))
    contact = await insert(app)
    code, out = await synced(environment(url, brevo, MAPPING_FILE=str(mapping)))
    assert code == 1
    assert "outcome rejected: MAPPING_FAILED: SHARE: division by zero" in words(out)
    assert (await read(app, contact))["processing_error"].startswith("MAPPING_FAILED: SHARE")
    assert brevo.request_count == 0


async def test_a_row_that_the_application_locks_meanwhile_is_finished_when_it_lets_go(app, other_app, url, brevo):
    hold = Hold()
    brevo.next_faults.append(Fault(hold=hold))
    contact = await insert(app)
    async with sync(environment(url, brevo)) as command:
        await hold.reached.wait()
        async with other_app.transaction():
            await other_app.execute("SELECT FROM contacts FOR UPDATE")
            hold.release()
            await until(
                app, "EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE '%o (id, claimed_by)%' AND pid <> pg_backend_pid())"
            )
        code, _, _ = await ended(command)
    assert code == 0
    assert await pair(app, contact) == ("Complete", "Complete")


async def test_a_client_that_fails_is_told_of_on_the_contact_which_is_retried_and_nothing_is_quoted(app, url):
    crm = ScriptedCrm()

    def fails(contact):
        raise KeyError(contact.email)

    crm.answer = fails
    contact = await insert(app)
    with capture_logs() as log:
        async with short_worker(url, crm) as deliver:
            finish = await deliver(contact)
    reason = "CLIENT_FAILED: the client of this CRM failed (KeyError): see the log for its traceback"
    assert (finish.kind, finish.error) == (Kind.RETRY, reason)
    assert await pair(app, contact) == ("Queued", "Queued")
    assert await app.fetchval("SELECT brevo_processing_error FROM contacts WHERE id = $1", contact) == reason
    assert [entry["event"] for entry in log].count(events.CLIENT_FAILED) == 1
    assert ADDRESS not in str(log)


# How it dies.


@asynccontextmanager
async def in_mid_request(app, url, brevo, **env):
    hold = Hold()
    brevo.next_faults.append(Fault(hold=hold))
    await insert(app)
    async with sync(environment(url, brevo, **env)) as command:
        async with asyncio.timeout(TIMEOUT_S):
            await hold.reached.wait()
        assert await app.fetchval("SELECT bool_and(brevo_claimed_by IS NOT NULL) FROM contacts")
        yield command
        hold.release()


async def test_killed_it_leaves_an_orphan_that_a_worker_recovers(app, url, brevo):
    async with in_mid_request(app, url, brevo) as command:
        command.kill()
        await command.wait()
        assert await pair(app, await app.fetchval("SELECT id FROM contacts")) == ("Processing", "Processing")
    async with process(environment(url, brevo)):
        await until(app, ALL_COMPLETE)
    assert await app.fetchval("SELECT brevo_attempts FROM contacts") == 2, "the one that died counts"


async def test_killed_it_is_recovered_by_the_next_one_where_no_worker_runs(app, url, brevo):
    async with in_mid_request(app, url, brevo) as command:
        command.kill()
        await command.wait()
    code, out = await synced(environment(url, brevo))
    assert (code, await app.fetchval(f"SELECT {ALL_COMPLETE}")) == (0, True), out


async def test_interrupted_it_puts_the_contact_back_at_once_and_is_no_dead_worker(app, url, brevo):
    async with in_mid_request(app, url, brevo) as command:
        command.send_signal(signal.SIGINT)
        code, out, err = await ended(command)
    assert code != 0
    assert "Traceback" not in out + err
    assert await pair(app, await app.fetchval("SELECT id FROM contacts")) == ("Queued", "Queued")
    assert await app.fetchval("SELECT count(*) FROM crm_sync.workers") == 0


# On another table.


@pytest.mark.usefixtures("template")  # which creates the worker's role
async def test_an_adopted_table_in_partitions_with_names_of_its_own(empty_url, brevo):
    """The key and the address have other names, and a ctid identifies a row in each partition."""
    people = await asyncpg.connect(empty_url)
    await people.execute(
        'CREATE SCHEMA app; CREATE TABLE app."People" ("No" bigint PRIMARY KEY, "E-mail" varchar(100), first_name text) '
        'PARTITION BY HASH ("No"); '
        'CREATE TABLE app.one PARTITION OF app."People" FOR VALUES WITH (MODULUS 2, REMAINDER 0); '
        'CREATE TABLE app.two PARTITION OF app."People" FOR VALUES WITH (MODULUS 2, REMAINDER 1)'
    )
    await asyncio.to_thread(adopt, empty_url, AdoptionRequest('app."People"', email="E-mail"))
    await people.execute("""INSERT INTO app."People" SELECT n, ' Ada@example.com', 'Ada ' || n FROM generate_series(1, 4) AS n""")
    await people.execute("""UPDATE app."People" SET brevo_sync_status = 'Queued' WHERE "No" > 2""")
    let_in(empty_url)
    env = environment(empty_url, brevo)
    async with process(env, "preview", "--email", ADDRESS, "--crm", "brevo") as command:
        code, out, err = await ended(command)
    assert (code, err) == (0, "")
    assert "3 other rows have this address" in words(out)
    assert (await synced(env))[0] == 0
    rows = await people.fetch('SELECT "No", brevo_sync_status::text, brevo_contact_id FROM app."People" ORDER BY 1')
    await people.close()
    assert [tuple(row)[1:] for row in rows] == [("New", None)] * 2 + [("Complete", str(*brevo.contacts))] * 2


# By key.


async def test_a_contact_that_is_named_by_its_key_is_delivered_and_no_other(app, url, brevo):
    other, meant = await insert(app, "Queued"), await insert(app, "Queued", "grace@example.com")
    async with process(environment(url, brevo), "sync", "--key", str(meant), "--crm", "brevo") as command:
        code, out, err = await ended(command)
    assert (code, err) == (0, "")
    assert str(meant) in out
    assert [await pair(app, contact) for contact in (other, meant)] == [("Queued", "Queued"), ("Complete", "Complete")]


@pytest.mark.parametrize(
    ("named", "code", "words_of"),
    [
        (("--key", "00000000-0000-0000-0000-000000000000"), 1, "No contact has the key 00000000-0000-0000-0000-000000000000."),
        (("--key", "seven"), 1, "the key seven is not valid: the table's key is of type uuid"),
        ((), 2, "Name the contact with either --email ADDRESS or --key KEY"),
        (("--key", "1", "--email", ADDRESS), 2, "either --email ADDRESS or --key KEY"),
    ],
)
async def test_a_contact_is_named_by_one_of_address_and_key_that_is_there(url, brevo, named, code, words_of):
    async with process(environment(url, brevo), "sync", *named) as command:
        ended_with, out, err = await ended(command)
    assert (ended_with, words_of in words(out + err)) == (code, True), (out, err)


async def test_a_database_that_is_read_only_is_said_at_once(app, url, brevo):
    await insert(app)
    name = url.rpartition("/")[2]
    await app.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    async with sync(environment(url, brevo)) as command:
        code, _, err = await ended(command)
    assert code == 1
    assert "the database is read-only: what writes needs the primary in DATABASE_URL" in err
