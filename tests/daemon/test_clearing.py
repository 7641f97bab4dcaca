"""Fields emptied in each CRM by a real worker: what crm-sync wrote, and nothing else."""

import asyncio

import pytest

from crm_sync.core.waits import Waits
from crm_sync.sandbox.process import CRMS
from crm_sync.sandbox.server import Answer, Fault
from tests.commands.test_preview import run as preview
from tests.faults.real_crms import complete, delivering, records, remote_id, sandboxes
from tests.harness import TIMEOUT_S, until
from tests.tiers import slow

ADA, PHONE, OF_SALES = "ada@example.com", "+33639980001", "33639980009"
RECORDS = [crm for crm in CRMS if crm != "n8n"]
CLEAR = {f"{crm.upper()}_EMPTY": "clear" for crm in CRMS}
SOON = Waits(first_probe_s=0.02, longest_probe_s=0.02, longest_refused_probe_s=0.02)


async def turn_on(app, *crms):
    for crm in crms:
        await app.execute("SELECT crm_sync.set_clearing($1, true)", crm)


async def flip(app, crm, change="first_name = first_name"):
    await app.execute(f"UPDATE contacts SET {change}, {crm}_sync_status = 'Queued'")
    await until(app, complete(crm))


async def insert(app, crm, phone):
    await app.execute("INSERT INTO contacts (email, first_name, phone) VALUES ($1, 'Ada', $2)", ADA, phone)
    await flip(app, crm)


def phone(crm, sandbox):
    [there] = records(crm, sandbox)
    return there.phone


def put_by_sales(crm, sandbox):
    """Sales has a record with a phone number before crm-sync is used."""
    match crm:
        case "hubspot":
            account = sandbox.account
            account.apply(account.plan(None, {"email": ADA, "phone": OF_SALES}, {}))
        case "brevo":
            sandbox.account.save({"email": ADA, "attributes": {"SMS": OF_SALES}})
        case "mautic":
            sandbox.account.create({"email": ADA, "phone": OF_SALES})


async def sent_fields(app, crm):
    return await app.fetchval(f"SELECT {crm}_sent_fields FROM contacts")


@pytest.mark.parametrize("crm", RECORDS)
async def test_what_was_sent_is_emptied_with_the_row(app, url, monkeypatch, crm):
    await turn_on(app, crm)
    async with sandboxes(crm) as there, delivering(url, monkeypatch, {crm: there[crm].url}, **CLEAR):
        await insert(app, crm, PHONE)
        assert phone(crm, there[crm]) == PHONE.lstrip("+")
        await flip(app, crm, "phone = NULL")
        assert phone(crm, there[crm]) is None
        assert await app.fetchval(f"SELECT {crm}_processing_error FROM contacts") is None
        assert records(crm, there[crm])[0].first_name == "Ada"
        requests = there[crm].request_count
        await flip(app, crm)
        assert there[crm].request_count - requests <= 2


async def test_a_workflow_of_n8n_is_told_by_null(app, url, monkeypatch):
    await turn_on(app, "n8n")
    async with sandboxes("n8n") as there, delivering(url, monkeypatch, {"n8n": there["n8n"].url}, **CLEAR):
        await insert(app, "n8n", PHONE)
        await flip(app, "n8n", "phone = NULL")
        await flip(app, "n8n")
        fields = [request.body["fields"] for request in there["n8n"].requests if request.method == "POST"]
    assert fields == [{"first_name": "Ada", "phone": PHONE}, {"first_name": "Ada", "phone": None}, {"first_name": "Ada"}]


async def test_of_rows_with_one_address_a_workflow_is_told_by_null_what_each_has_sent(app, url, monkeypatch):
    """Every run has another id, and they get that of the run that they shared."""
    await turn_on(app, "n8n")
    settings = {"N8N_BATCH_SIZE": "10", **CLEAR}
    async with sandboxes("n8n") as there, delivering(url, monkeypatch, {"n8n": there["n8n"].url}, **settings):
        for _ in range(2):
            await insert(app, "n8n", PHONE)
        await flip(app, "n8n")
        ids = {row[0] for row in await app.fetch("SELECT n8n_workflow_id FROM contacts")}
        assert len(ids) == 1
        for row in await app.fetch("SELECT id FROM contacts"):
            await app.execute("UPDATE contacts SET phone = NULL, n8n_sync_status = 'Queued' WHERE id = $1", row[0])
            await until(app, complete("n8n"))
        sent = [request.body["contacts"] for request in there["n8n"].requests if request.method == "POST"]
    assert [[one["fields"]["phone"] for one in contacts] for contacts in sent[-2:]] == [[None], [None]]


@pytest.mark.parametrize("crm", RECORDS)
async def test_what_sales_had_put_there_stays_though_the_row_has_nothing_for_it(app, url, monkeypatch, crm):
    await turn_on(app, crm)
    async with sandboxes(crm) as there, delivering(url, monkeypatch, {crm: there[crm].url}, **CLEAR):
        put_by_sales(crm, there[crm])
        await insert(app, crm, None)
        await flip(app, crm)
        assert phone(crm, there[crm]) == OF_SALES
        assert await app.fetchval(f"SELECT {remote_id(crm)} FROM contacts") == records(crm, there[crm])[0].id


@pytest.mark.parametrize("crm", RECORDS)
async def test_by_default_the_crm_keeps_what_it_has(app, url, monkeypatch, crm):
    async with sandboxes(crm) as there, delivering(url, monkeypatch, {crm: there[crm].url}):
        await insert(app, crm, PHONE)
        await flip(app, crm, "phone = NULL")
        assert phone(crm, there[crm]) == PHONE.lstrip("+")


@pytest.mark.parametrize("crm", RECORDS)
async def test_what_was_sent_before_it_was_turned_on_stays(app, url, monkeypatch, crm):
    async with sandboxes(crm) as there:
        async with delivering(url, monkeypatch, {crm: there[crm].url}):
            await insert(app, crm, PHONE)
        await turn_on(app, crm)
        async with delivering(url, monkeypatch, {crm: there[crm].url}, **CLEAR):
            await flip(app, crm, "phone = NULL")
            assert phone(crm, there[crm]) == PHONE.lstrip("+")


@pytest.mark.parametrize("crm", RECORDS)
async def test_a_first_delivery_whose_answer_was_lost_is_emptied_all_the_same(app, url, monkeypatch, crm):
    """The row has no record id yet, but the record has the phone number."""
    await turn_on(app, crm)
    async with sandboxes(crm) as there:
        await app.execute("INSERT INTO contacts (email, first_name, phone) VALUES ($1, 'Ada', $2)", ADA, PHONE)
        async with delivering(url, monkeypatch, {crm: there[crm].url}, **CLEAR):
            await flip(app, crm)
        # As recovery finds it after the worker died with the answer.
        await app.execute(f"UPDATE contacts SET {remote_id(crm)} = NULL, {crm}_sent_to = '', {crm}_processing_status = NULL")
        async with delivering(url, monkeypatch, {crm: there[crm].url}, **CLEAR):
            await flip(app, crm, "phone = NULL")
            assert phone(crm, there[crm]) is None


@pytest.mark.parametrize("crm", RECORDS)
async def test_a_record_that_was_deleted_and_made_anew_by_sales_is_not_emptied(app, url, monkeypatch, crm):
    await turn_on(app, crm)
    async with sandboxes(crm) as there, delivering(url, monkeypatch, {crm: there[crm].url}, **CLEAR):
        await insert(app, crm, PHONE)
        account = there[crm].account
        [old] = account.contacts.values()
        account.archive(old) if crm == "hubspot" else account.delete(old)
        put_by_sales(crm, there[crm])
        await flip(app, crm, "phone = NULL")
        assert phone(crm, there[crm]) == OF_SALES


@pytest.mark.parametrize("crm", RECORDS)
async def test_a_crm_that_does_not_empty_it_is_told_and_asked_again(app, url, monkeypatch, crm):
    await turn_on(app, crm)
    async with sandboxes(crm) as there, delivering(url, monkeypatch, {crm: there[crm].url}, **CLEAR):
        await insert(app, crm, PHONE)
        stubborn = there[crm].account
        monkeypatch.setattr(stubborn, *_keeping(crm, stubborn))
        await flip(app, crm, "phone = NULL")
        error = await app.fetchval(f"SELECT {crm}_processing_error FROM contacts")
        assert error.startswith("FIELD_NOT_SENT: ")
        assert "did not clear" in error
        monkeypatch.undo()
        before = await sent_fields(app, crm)
        assert before.bit_count() == 2


def _keeping(crm, account):
    """An account that answers with success but empties nothing."""
    match crm:
        case "hubspot":
            apply = account.apply
            return "apply", lambda write: apply(write._replace(values={n: v for n, v in write.values.items() if v}))
        case "brevo":
            update = account.update
            return "update", lambda contact, body: update(
                contact, {**body, "attributes": {n: v for n, v in body.get("attributes", {}).items() if v}}
            )
        case _:
            edit = account.edit
            return "edit", lambda contact, item, **how: edit(contact, {n: v for n, v in item.items() if v is not None}, **how)


async def test_preview_says_it_and_so_does_the_request(app, url, monkeypatch):
    await turn_on(app, "hubspot")
    async with sandboxes("hubspot") as there:
        async with delivering(url, monkeypatch, {"hubspot": there["hubspot"].url}, **CLEAR):
            await insert(app, "hubspot", PHONE)
        await app.execute("UPDATE contacts SET phone = NULL")
        said = preview(url, "--email", ADA, "--crm", "hubspot", HUBSPOT_ACCESS_TOKEN="pat-x", **CLEAR).output
    assert " ".join(said.split()).count("empties phone") == 1
    assert '"phone": ""' in said


async def refused(sandbox, times):
    """Returns when so many more requests were."""
    times += len(sandbox.requests)
    async with asyncio.timeout(TIMEOUT_S):
        while len(sandbox.requests) < times:  # noqa: ASYNC110 (the log tells nobody)
            await asyncio.sleep(0.005)


@slow
@pytest.mark.parametrize("crm", RECORDS)
async def test_what_the_crm_refused_does_not_count_as_sent(app, url, monkeypatch, crm):
    """The key is wrong for a while. Meanwhile sales types a phone number, and the row loses its own."""
    await turn_on(app, crm)
    async with sandboxes(crm) as there, delivering(url, monkeypatch, {crm: there[crm].url}, waits=SOON, **CLEAR):
        sandbox = there[crm]
        sandbox.standing_faults.append(Fault(lambda call: call.method != "GET", answer=Answer(401, {"message": "no"})))
        await app.execute(
            f"INSERT INTO contacts (email, first_name, phone, {crm}_sync_status) VALUES ($1, 'Ada', $2, 'Queued')", ADA, PHONE
        )
        await refused(sandbox, 1)
        await until(app, f"bool_and({crm}_sent_fields = 0 AND {crm}_claimed_by IS NULL) FROM contacts")
        await app.execute("UPDATE contacts SET phone = NULL")
        put_by_sales(crm, sandbox)
        await refused(sandbox, 4)
        sandbox.standing_faults.clear()
        await until(app, complete(crm))
        await flip(app, crm)
        assert phone(crm, sandbox) == OF_SALES


@pytest.mark.parametrize("crm", RECORDS)
async def test_what_was_not_answered_counts_as_sent(app, url, monkeypatch, crm):
    """It has landed. Else it would stay there for ever."""
    await turn_on(app, crm)
    async with sandboxes(crm) as there, delivering(url, monkeypatch, {crm: there[crm].url}, waits=SOON, **CLEAR):
        sandbox = there[crm]
        sandbox.standing_faults.append(Fault(lambda call: call.method != "GET", applies=True, drop=True))
        await app.execute(
            f"INSERT INTO contacts (email, first_name, phone, {crm}_sync_status) VALUES ($1, 'Ada', $2, 'Queued')", ADA, PHONE
        )
        await refused(sandbox, 1)
        await app.execute("UPDATE contacts SET phone = NULL")
        await refused(sandbox, 4)
        assert phone(crm, sandbox) in (PHONE.lstrip("+"), None)
        sandbox.standing_faults.clear()
        await until(app, complete(crm))
        assert phone(crm, sandbox) is None


async def test_of_a_batch_that_was_halved_and_then_refused_nothing_counts_as_sent(app, url, monkeypatch):
    await turn_on(app, "hubspot")
    async with sandboxes("hubspot") as there, delivering(url, monkeypatch, {"hubspot": there["hubspot"].url}, **CLEAR):
        sandbox = there["hubspot"]
        upserts = lambda call: "upsert" in call.path  # noqa: E731
        sandbox.next_faults.append(Fault(upserts, answer=sandbox.refused()))
        sandbox.standing_faults.append(Fault(upserts, answer=sandbox.throttled()))
        await app.execute(
            "INSERT INTO contacts (email, first_name, phone, hubspot_sync_status) "
            "SELECT n || '@example.com', 'Ada', $1, 'Queued' FROM generate_series(1, 8) AS n",
            PHONE,
        )
        await until(app, "bool_and(hubspot_sent_fields = 0 AND hubspot_claimed_by IS NULL) FROM contacts")
        assert [request.status for request in sandbox.requests if "upsert" in request.path][:2] == [400, 429]
        sandbox.standing_faults.clear()
