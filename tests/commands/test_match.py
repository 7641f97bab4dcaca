"""crm-sync match: the rows of a table adopted next to a CRM in use get the ids of its records, and nothing else happens."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from crm_sync.core.outcome import Outcome
from crm_sync.core.waits import USUAL
from crm_sync.errors import BatchRefusedError, HeldBackError, OutageError, ThrottledError
from crm_sync.lane import matching as module
from crm_sync.lane.matching import Matcher
from crm_sync.lane.patience import TRIES
from crm_sync.postgres.pool import Database
from crm_sync.sandbox.__main__ import UNLIMITED
from crm_sync.sandbox.process import settings
from crm_sync.sandbox.server import Answer, Fault, is_about_contacts
from crm_sync.table.mapping import FieldMapping
from crm_sync.table.matching import Matching
from crm_sync.table.schema import read_schema
from tests.harness import ALL_COMPLETE, TIMEOUT_S, ScriptedCrm, until
from tests.process import ended, environment, process
from tests.roles import WORKER, as_worker

RECORDS = {"hubspot", "brevo", "mautic"}
STATE = (
    "SELECT id, brevo_sync_status, brevo_processing_status, brevo_processing_error, brevo_attempts, brevo_synced_at FROM contacts"
)


@asynccontextmanager
async def sandbox_of(crm, count):
    """With the records of this many people, n@example.com."""
    async with UNLIMITED[crm](0) as sandbox:
        for number in range(count):
            put(crm, sandbox, f"{number}@example.com")
        yield sandbox


def put(crm, sandbox, email):
    account = sandbox.account
    match crm:
        case "hubspot":
            account.apply(account.plan(None, {"email": email}, {}))
        case "brevo":
            account.save({"email": email})
        case _:
            account.create({"email": email})


def record_ids(crm, sandbox):
    match crm:
        case "hubspot":
            return {one.properties["email"]: one.id for one in sandbox.contacts.values()}
        case "brevo":
            return {one.email: str(one.id) for one in sandbox.contacts.values()}
    return {one.values["email"]: str(one.id) for one in sandbox.contacts.values()}


async def people(app, count, address="n || '@example.com'"):
    await app.execute(f"INSERT INTO contacts (email) SELECT {address} FROM generate_series(0, {count - 1}) AS n")


async def matched(env, crm="brevo", *options):
    async with process(env, "match", crm, *options) as command:
        code, out, err = await ended(command)
    assert "Traceback" not in err, err
    return code, " ".join(f"{out} {err}".split())


async def ids(app, crm="brevo"):
    return dict(await app.fetch(f"SELECT email, {crm}_contact_id FROM contacts WHERE {crm}_contact_id IS NOT NULL"))


# What comes of it.


@pytest.mark.parametrize("crm", sorted(RECORDS))
async def test_rows_get_the_ids_of_the_records_that_have_their_addresses_and_nothing_is_written_in_the_crm(app, url, crm):
    async with sandbox_of(crm, 30) as sandbox:
        await people(app, 40, "upper(n::text || '@Example.com ')")
        before = record_ids(crm, sandbox)
        code, said = await matched(environment(url) | settings(crm, sandbox.url), crm)
        assert code == 0, said
        assert f"{crm}: 40 looked up, 30 matched, 10 unknown to {crm}, 0 ambiguous." in said
        assert {email.strip().lower(): known for email, known in (await ids(app, crm)).items()} == before
        assert record_ids(crm, sandbox) == before
        assert {request.method for request in sandbox.requests} <= {"GET", "POST"}
        assert not [
            request for request in sandbox.requests if request.method == "POST" and not request.path.endswith("/batch/read")
        ]


async def test_hubspot_is_asked_for_a_hundred_at_a_time(app, url):
    async with sandbox_of("hubspot", 0) as sandbox:
        await people(app, 250)
        await matched(environment(url) | settings("hubspot", sandbox.url), "hubspot")
        assert sorted(len(request.body["inputs"]) for request in filter(is_about_contacts, sandbox.requests)) == [50, 100, 100]


async def test_no_state_of_a_row_changes_and_a_delivery_after_it_changes_the_record_it_found(app, url, brevo):
    put("brevo", brevo, "0@example.com")
    await people(app, 1)
    before = await app.fetch(STATE)
    await matched(environment(url, brevo))
    assert await app.fetch(STATE) == before
    await app.execute("UPDATE contacts SET email = 'new@example.com', brevo_sync_status = 'Queued'")
    async with process(environment(url, brevo)):
        await until(app, ALL_COMPLETE)
    assert [one.email for one in brevo.contacts.values()] == ["new@example.com"]


async def test_rows_with_one_address_get_one_id_and_are_asked_for_once(app, url, brevo):
    put("brevo", brevo, "0@example.com")
    await app.execute("INSERT INTO contacts (email) VALUES ('0@example.com'), (' 0@EXAMPLE.com')")
    assert "2 looked up, 2 matched" in (await matched(environment(url, brevo)))[1]
    assert sum(map(is_about_contacts, brevo.requests)) == 1
    assert set((await ids(app)).values()) == {"1"}


async def test_several_records_with_one_address_are_ambiguous_and_none_is_taken(app, url):
    async with sandbox_of("mautic", 1) as sandbox:
        put("mautic", sandbox, "0@example.com")
        put("mautic", sandbox, "1@example.com")
        await people(app, 2)
        code, said = await matched(environment(url) | settings("mautic", sandbox.url), "mautic")
        assert code == 0
        assert "2 looked up, 1 matched, 0 unknown to mautic, 1 ambiguous." in said
        assert await ids(app, "mautic") == {"1@example.com": "3"}


async def test_who_has_an_id_is_in_line_or_has_no_address_is_not_asked_for(app, url, brevo):
    await app.execute(
        "INSERT INTO contacts (email, brevo_contact_id, brevo_sync_status) VALUES "
        "('0@example.com', '77', 'New'), ('1@example.com', NULL, 'Queued'), ('no address', NULL, 'New'), (NULL, NULL, 'New')"
    )
    code, said = await matched(environment(url, brevo))
    assert code == 0
    assert "0 looked up, 0 matched, 0 unknown to brevo, 0 ambiguous, 2 more without a valid address or key." in said
    assert not any(map(is_about_contacts, brevo.requests))
    assert await ids(app) == {"0@example.com": "77"}


async def test_a_row_that_somebody_holds_is_left_alone_and_found_the_next_time(app, other_app, url, brevo):
    for number in range(2):
        put("brevo", brevo, f"{number}@example.com")
    await people(app, 2)
    async with other_app.transaction():
        await other_app.execute("SELECT FROM contacts WHERE email = '0@example.com' FOR UPDATE")
        _, said = await matched(environment(url, brevo))
    assert "1 matched, 0 unknown to brevo, 0 ambiguous, 1 left alone." in said
    assert "run this again" in said
    assert "1 looked up, 1 matched" in (await matched(environment(url, brevo)))[1]


# Interrupted, and continued.


async def test_broken_off_it_says_why_and_goes_on_where_it_was(app, url):
    async with sandbox_of("hubspot", 10) as sandbox:
        await people(app, module.PAGE + 10)
        env = environment(url) | settings("hubspot", sandbox.url)
        gone = Fault(matches=lambda _: sandbox.request_count > module.PAGE // 100, answer=Answer(401, sandbox.refused().body))
        sandbox.standing_faults.append(gone)
        code, said = await matched(env, "hubspot")
        assert code == 1
        assert "hubspot: interrupted. REFUSED:" in said
        assert f"{module.PAGE:,} looked up" in said
        assert "`crm-sync match hubspot` continues from there." in said
        sandbox.standing_faults.clear()
        sandbox.requests.clear()
        code, said = await matched(env, "hubspot")
        assert code == 0
        assert "continues where it was interrupted" in said
        assert f"{module.PAGE + 10:,} looked up, 10 matched" in said
        assert [len(request.body["inputs"]) for request in filter(is_about_contacts, sandbox.requests)] == [10]
        # Once it has ended, the next run begins again; so it does on request.
        assert f"{module.PAGE:,} looked up, 0 matched" in (await matched(env, "hubspot"))[1]


async def test_again_begins_with_the_first(app, url, brevo):
    await people(app, 3)
    await app.execute(
        "INSERT INTO crm_sync.matching (crm, after_key, looked_for) SELECT 'brevo', max(id::text)::text, 7 FROM contacts"
    )
    assert "continues where it was interrupted; 7 looked up" in (await matched(environment(url, brevo)))[1]
    await app.execute("UPDATE crm_sync.matching SET ended_at = NULL")
    assert "brevo: 3 looked up" in (await matched(environment(url, brevo), "brevo", "--again"))[1]


# What is in the way.


async def test_a_paused_crm_is_not_called(app, url, brevo):
    await people(app, 1)
    await app.execute("UPDATE crm_sync.lanes SET held_since = now(), held_reason = 'rotation' WHERE crm = 'brevo'")
    code, said = await matched(environment(url, brevo))
    assert code != 0
    assert "must not be called now: paused by hand" in said
    assert brevo.request_count == 0


async def test_n8n_keeps_no_records(app, url):
    async with UNLIMITED["n8n"](0) as sandbox:
        code, said = await matched(environment(url) | settings("n8n", sandbox.url), "n8n")
    assert code != 0
    assert "n8n cannot be matched: it keeps no records" in said


async def test_without_credentials_or_rights_it_says_so(app, url, brevo):
    code, said = await matched(environment(url))
    assert code == 78
    assert "brevo has no credentials" in said
    await app.execute(f"REVOKE ALL ON crm_sync.matching FROM {WORKER}")
    code, said = await matched(environment(url, brevo))
    assert code == 78
    assert f"may not match: let the owner of the table run what `crm-sync grants {WORKER}` prints" in said


# What a CRM may answer.


class Asked(ScriptedCrm):
    """Its answers to find are given by the test, one after another; then nothing is found."""

    def __init__(self, *answers):
        super().__init__()
        self.answers = [*answers]
        self.found = []

    delete_limit = 4

    async def find(self, emails):
        self.found.append(list(emails))
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        return answer or [None] * len(emails)


QUICK = {"suspect_s": 0.0, "first_probe_s": 0.0, "longest_probe_s": 0.0}


async def counted(url, client):
    async def may_ask():
        """Always."""

    async with Database(as_worker(url), size=2) as database, asyncio.timeout(TIMEOUT_S):
        matching = Matching(database, (await read_schema(database)).lanes["brevo"], FieldMapping("email::text", {}))
        await matching.begin(anew=False)
        return await Matcher(client, matching, replace(USUAL, **QUICK), may_ask=may_ask, tell=print).run()


@pytest.mark.parametrize(
    "error", [ThrottledError("RATE_LIMITED", "429", 0.0), HeldBackError("no room"), OutageError("CRM_ERROR", "500")]
)
async def test_it_waits_for_room_and_for_what_passes(app, url, error):
    await people(app, 3)
    client = Asked(error, error)
    assert (await counted(url, client)).unknown == 3
    assert len(client.found) == 3


async def test_an_outage_that_lasts_breaks_it_off(app, url):
    await people(app, 3)
    client = Asked(*[OutageError("CRM_ERROR", "500")] * TRIES)
    with pytest.raises(OutageError):
        await counted(url, client)


async def test_a_search_that_is_refused_is_halved_until_the_ambiguous_one_stands_alone(app, url):
    await people(app, 4)

    class Refusing(Asked):
        async def find(self, emails):
            self.found.append(list(emails))
            if "2@example.com" in emails:
                raise BatchRefusedError("AMBIGUOUS", "50 records have such an address")
            return [f"id-{email}" for email in emails]

    counts = await counted(url, Refusing())
    assert (counts.looked_for, counts.found, counts.ambiguous) == (4, 3, 1)


async def test_a_plug_in_that_cannot_look_up_is_told(app, url):
    await people(app, 1)

    class Unable(ScriptedCrm):
        """Uses the default find of every client."""

    with pytest.raises(Exception, match="cannot look contacts up"):
        await counted(url, Unable())


async def test_another_refusal_of_one_address_breaks_it_off_in_its_words(app, url):
    await people(app, 1)
    with pytest.raises(Exception, match="TOO_EARLY: busy"):
        await counted(url, Asked([Outcome.failed("TOO_EARLY", "busy")]))
