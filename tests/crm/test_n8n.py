"""Our n8n client against the fake n8n, and against prepared answers: the outcomes of a contact."""

import asyncio
import base64
import hashlib
import hmac
import json
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta, timezone

import jwt
import pytest
from click.testing import CliRunner

from crm_sync.commands.n8n_workflow import n8n_workflow
from crm_sync.core.outcome import Contact, Outcome, Verdict
from crm_sync.crm.content import LARGEST_BODY_BYTES
from crm_sync.crm.http import Http
from crm_sync.crm.limiter import UNLIMITED
from crm_sync.crm.n8n import client as module
from crm_sync.crm.n8n.client import DEFAULT_FIELDS, N8n, account, idempotency_key
from crm_sync.crm.n8n.login import TOKEN_LIFE_S, Login, read_login
from crm_sync.crm.n8n.settings import N8nSettings
from crm_sync.errors import (
    BatchRefusedError,
    ConfigurationError,
    LaneError,
    NotSentError,
    OutageError,
    RefusedError,
    StatusRefusedError,
    ThrottledError,
)
from crm_sync.sandbox.n8n.sandbox import N8nSandbox
from crm_sync.sandbox.server import Answer, Fault, Hold

FLIPPED_AT = datetime(2026, 11, 23, 9, 30, 0, 123456, tzinfo=UTC)
PASSPHRASE = "a passphrase of thirty-two bytes or more"
SIGNING_SECRET = "a signing secret"
WEBHOOK = ("POST", "/webhook/crm-sync")
STARTED = {"message": "Workflow was started"}
HTML = {"Content-Type": "text/html; charset=utf-8"}


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch, tmp_path):
    for name in N8nSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
async def crm():
    async with N8nSandbox() as sandbox:
        yield sandbox


@pytest.fixture
async def n8n(crm):
    async with client(crm.url) as opened:
        yield opened


@pytest.fixture
async def lists(crm):
    async with client(crm.url, batch_limit=10) as opened:
        yield opened


@pytest.fixture
async def alone(prepared):
    """Only the client: it is answered as the test says."""
    async with client(prepared.base_url) as opened:
        yield opened


@pytest.fixture
async def listing(prepared):
    """The same, with contacts sent as a list."""
    async with client(prepared.base_url, batch_limit=10) as opened:
        yield opened


@asynccontextmanager
async def client(origin, *, target="/webhook/crm-sync", batch_limit=1, timeout_s=20.0, **login):
    login = read_login(N8nSettings(**login))
    async with Http(origin, login.headers, timeout_s=timeout_s) as http:
        yield N8n(http, target=target, origin=origin, login=login, batch_limit=batch_limit)


def contact(email="ada@example.com", number=1, remote_id=None, flipped_at=FLIPPED_AT, **fields):
    return Contact(number, token=1, attempts=1, remote_id=remote_id, email=email, flipped_at=flipped_at, fields=fields)


CROWD = [contact(f"{number}@example.com", number) for number in range(1, 4)]


async def deliver(n8n, *args, **fields):
    [outcome] = await n8n.deliver([contact(*args, **fields)])
    return outcome


def answers(crm, status, body=None, **headers):
    """The next call gets this answer, and takes no effect."""
    crm.next_faults.append(Fault(answer=Answer(status, body, headers)))


def sent(crm):
    return [request.body for request in crm.requests]


# What is sent.


async def test_a_contact_is_the_body_and_is_delivered_with_the_execution_id(crm, n8n):
    outcome = await deliver(n8n, "  ada@example.com\t", 42, remote_id="7", first_name="Ada", company="Søn & Cie")
    assert outcome == Outcome.delivered("1")
    [body] = sent(crm)
    sent_at = datetime.fromisoformat(body.pop("sent_at"))
    assert abs(datetime.now(UTC) - sent_at) < timedelta(seconds=30)
    assert body == {
        "idempotency_key": idempotency_key(contact(number=42, first_name="Ada", company="Søn & Cie")),
        "contact_id": "42",
        "n8n_workflow_id": "7",
        "email": "ada@example.com",
        "fields": {"first_name": "Ada", "company": "Søn & Cie"},
    }
    assert crm.workflow.contacts["ada@example.com"].fields == {"first_name": "Ada", "company": "Søn & Cie"}


@pytest.mark.parametrize("remote_id", [None, ""])
async def test_a_contact_without_an_id_says_so(prepared, alone, remote_id):
    prepared.answer(WEBHOOK, 200, STARTED)
    await deliver(alone, remote_id=remote_id)
    assert prepared.sent[0].body["n8n_workflow_id"] is None


async def test_what_is_empty_is_not_sent(prepared, alone):
    prepared.answer(WEBHOOK, 200, STARTED)
    await deliver(alone, first_name=None, last_name="", phone=" \t", score=0, vip=False)
    assert prepared.sent[0].body["fields"] == {"score": 0, "vip": False}


@pytest.mark.parametrize("count", [1, 3])
async def test_with_a_batch_size_contacts_come_as_a_list_even_one(crm, lists, count):
    outcomes = await lists.deliver(CROWD[:count])
    assert outcomes == [Outcome.delivered("1")] * count
    [body] = sent(crm)
    assert set(body) == {"sent_at", "contacts"}
    assert [entry["contact_id"] for entry in body["contacts"]] == ["1", "2", "3"][:count]
    assert len(crm.workflow.contacts) == count


async def test_the_query_of_the_url_is_sent_along(prepared):
    prepared.answer(("POST", "/webhook/crm-sync?tenant=a%26b"), 200, {"execution_id": "1"})
    async with client(prepared.base_url, target="/webhook/crm-sync?tenant=a%26b") as n8n:
        assert await deliver(n8n) == Outcome.delivered("1")


# Once for each flip.


async def test_the_same_flip_sent_twice_is_handled_once_and_keeps_its_id(crm, n8n):
    crm.next_faults.append(Fault(applies=True, drop=True))
    with pytest.raises(OutageError, match="BROKEN_ANSWER"):
        await deliver(n8n, first_name="Ada")
    assert await deliver(n8n, first_name="Ada") == Outcome.delivered("1")
    assert crm.workflow.duplicates == 1


async def test_a_retry_has_the_same_key_and_another_flip_another(prepared, alone):
    again = contact()._replace(token=9, attempts=3, remote_id="1")
    flipped = contact(flipped_at=FLIPPED_AT + timedelta(microseconds=1))
    for one in (contact(), again, flipped, contact(number=2)):
        prepared.answer(WEBHOOK, 200, STARTED)
        await alone.deliver([one])
    first, retried, later, other = (sent.body["idempotency_key"] for sent in prepared.sent)
    assert first == retried
    assert len({first, later, other}) == 3
    assert [sent.headers["Idempotency-Key"] for sent in prepared.sent] == [first, retried, later, other]


def test_a_key_does_not_depend_on_the_time_zone_of_who_makes_it():
    elsewhere = FLIPPED_AT.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert idempotency_key(contact(flipped_at=elsewhere)) == idempotency_key(contact())


def test_a_key_is_the_same_in_all_releases():
    known = b'1\n2026-11-23T09:30:00.123456+00:00\n["ada@example.com", {"first_name": "Ada"}]'
    assert idempotency_key(contact(first_name="Ada")) == hashlib.sha256(known).hexdigest()[:32]


def test_other_values_of_a_flip_have_a_key_of_their_own():
    """For a flip that no trigger saw, the time is that of the previous flip."""
    keys = {idempotency_key(contact(first_name=name)) for name in ("Ada", "Eve", None)} | {
        idempotency_key(contact("eve@example.com"))
    }
    assert len(keys) == 4
    assert idempotency_key(contact(first_name="Ada", phone=" ")) == idempotency_key(contact(phone=None, first_name="Ada"))


async def test_the_key_of_a_list_is_that_of_all_its_contacts(prepared, listing):
    for crowd in (CROWD, CROWD, CROWD[:2]):
        prepared.answer(WEBHOOK, 200, STARTED)
        await listing.deliver(crowd)
    first, again, fewer = (sent.headers["Idempotency-Key"] for sent in prepared.sent)
    assert first == again != fewer


async def test_a_run_that_failed_is_run_again(crm, n8n):
    crm.workflow.failing = {"ada@example.com"}
    assert (await deliver(n8n)).verdict is Verdict.FAILED
    crm.workflow.failing = set()
    assert await deliver(n8n) == Outcome.delivered("2")
    assert crm.workflow.duplicates == 0


# The signature.


@pytest.mark.parametrize("batch_limit", [1, 10])
async def test_the_very_bytes_that_are_sent_are_signed(prepared, batch_limit):
    prepared.answer(WEBHOOK, 200, STARTED)
    async with client(prepared.base_url, batch_limit=batch_limit, n8n_signing_secret=SIGNING_SECRET) as n8n:
        await deliver(n8n, company="Søn & Cie", score=1.5)
    [(_, _, headers, payload)] = prepared.sent
    wanted = hmac.new(SIGNING_SECRET.encode(), payload, hashlib.sha256).hexdigest()
    assert headers["X-Crm-Sync-Signature"] == wanted
    assert headers["Content-Type"] == "application/json"
    assert "Søn".encode() in payload
    assert payload == json.dumps(json.loads(payload), ensure_ascii=False, separators=(",", ":")).encode()


async def test_without_a_secret_nothing_is_signed(prepared, alone):
    prepared.answer(WEBHOOK, 200, STARTED)
    await deliver(alone)
    assert "X-Crm-Sync-Signature" not in prepared.sent[0].headers


async def test_a_workflow_that_wants_another_signature_refuses_everybody(crm):
    crm.signing_secret = "another secret"
    async with client(crm.url, n8n_signing_secret=SIGNING_SECRET) as n8n:
        with pytest.raises(RefusedError, match=r"^REFUSED: .*401: the signature is wrong\)$"):
            await deliver(n8n)
        crm.signing_secret = SIGNING_SECRET
        assert (await deliver(n8n, company="Søn")).verdict is Verdict.DELIVERED


# Who calls.

KINDS = {
    "header": (("X-Crm-Sync-Key", "a value"), {"n8n_header_name": "X-Crm-Sync-Key", "n8n_header_value": "a value"}),
    "basic": (("ada", "pass:wörd"), {"n8n_username": "ada", "n8n_password": "pass:wörd"}),
    "jwt": ((PASSPHRASE,), {"n8n_jwt_secret": PASSPHRASE}),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_each_kind_of_authentication_is_accepted(crm, kind):
    crm.authentication, (crm.credentials, settings) = kind, KINDS[kind]
    async with client(crm.url, **settings) as n8n:
        assert (await deliver(n8n)).verdict is Verdict.DELIVERED


@pytest.mark.parametrize(
    ("kind", "wrong", "said"),
    [
        ("header", {}, "403: Authorization data is wrong!): check N8N_HEADER_NAME and N8N_HEADER_VALUE"),
        ("header", {"n8n_header_name": "X-Crm-Sync-Key", "n8n_header_value": "wrong"}, "check N8N_HEADER_NAME"),
        ("basic", {}, "401: Authorization is required!): check N8N_USERNAME and N8N_PASSWORD"),
        ("basic", {"n8n_username": "ada", "n8n_password": "wrong"}, "401: Authentication data is wrong!): check N8N_USERNAME"),
        ("jwt", {}, "401: No token provided): check N8N_JWT_SECRET"),
        ("jwt", {"n8n_jwt_secret": PASSPHRASE[::-1]}, "403: invalid signature): check N8N_JWT_SECRET"),
    ],
)
async def test_wrong_credentials_are_named_by_their_settings(crm, kind, wrong, said):
    crm.authentication, crm.credentials = kind, KINDS[kind][0]
    async with client(crm.url, **wrong) as n8n:
        with pytest.raises(RefusedError) as caught:
            await deliver(n8n)
    assert caught.value.code == "REFUSED"
    assert said in caught.value.reason
    assert crm.workflow.executions == []


async def test_an_older_n8n_says_403_to_a_wrong_password(prepared, alone):
    prepared.answer(WEBHOOK, 403, b"Authentication data is wrong!")
    with pytest.raises(RefusedError, match="N8N_PASSWORD"):
        await deliver(alone)


async def test_a_token_is_made_for_each_call_and_does_not_live_long(prepared, monkeypatch):
    now_s = 1_790_000_000.0
    monkeypatch.setattr("crm_sync.crm.n8n.login.time.time", lambda: now_s)
    async with client(prepared.base_url, n8n_jwt_secret=PASSPHRASE) as n8n:
        prepared.answer(WEBHOOK, 200, STARTED)
        await deliver(n8n)
        now_s += 3600
        prepared.answer(WEBHOOK, 200, STARTED)
        await deliver(n8n)
    tokens = [sent.headers["Authorization"].removeprefix("Bearer ") for sent in prepared.sent]
    lives = [jwt.decode(token, PASSPHRASE, algorithms=["HS256"], options={"verify_signature": False}) for token in tokens]
    assert [life["exp"] for life in lives] == [1_790_000_000 + TOKEN_LIFE_S, 1_790_003_600 + TOKEN_LIFE_S]
    assert all(life["exp"] - life["iat"] == TOKEN_LIFE_S <= 600 for life in lives)


async def test_a_webhook_with_the_option_ignore_bots_is_hinted_at(crm, n8n):
    crm.ignore_bots = True
    with pytest.raises(RefusedError, match=r"403: Authorization data is wrong!.*Ignore Bots is off"):
        await deliver(n8n)


async def test_a_403_in_other_words_hints_at_ignore_bots_too(prepared, alone):
    prepared.answer(WEBHOOK, 403, b"Forbidden")
    with pytest.raises(RefusedError, match=r"REFUSED: .*403: Forbidden.*Ignore Bots"):
        await deliver(alone)


async def test_a_machine_that_is_not_on_the_list_is_told_so(crm, n8n):
    crm.allows_address = False
    with pytest.raises(RefusedError, match="IP_REFUSED: "):
        await deliver(n8n)


async def test_a_node_without_its_credential_is_a_matter_for_people(crm, n8n):
    crm.authentication = "header"
    with pytest.raises(RefusedError, match=r"MISCONFIGURED: .*has no credential"):
        await deliver(n8n)


@pytest.mark.parametrize(
    "message", ["Workflow Webhook Error: Workflow could not be started!", "No Respond to Webhook node found in the workflow"]
)
async def test_a_workflow_that_n8n_cannot_start_is_a_matter_for_people(prepared, alone, message):
    prepared.answer(WEBHOOK, 500, {"code": 0, "message": message})
    with pytest.raises(RefusedError, match=f"MISCONFIGURED: .*{message}"):
        await deliver(alone)


@pytest.mark.parametrize("kind", KINDS)
async def test_credentials_that_an_answer_quotes_are_masked(prepared, kind):
    _, settings = KINDS[kind]
    secrets = [PASSPHRASE, "pass:wörd", SIGNING_SECRET, base64.b64encode("ada:pass:wörd".encode()).decode()]
    prepared.answer(WEBHOOK, 403, f"debug: {secrets}".encode())
    async with client(prepared.base_url, n8n_signing_secret=SIGNING_SECRET, **settings) as n8n:
        with pytest.raises(RefusedError) as caught:
            await deliver(n8n)
    assert SIGNING_SECRET not in caught.value.reason
    if kind == "jwt":
        assert PASSPHRASE not in caught.value.reason
    if kind == "basic":
        assert not any(secret in caught.value.reason for secret in (secrets[1], secrets[3]))


# What a workflow answers. "Immediately" first.


async def test_who_is_answered_immediately_is_delivered_without_an_id(crm, n8n):
    crm.mode = "onReceived"
    assert await deliver(n8n) == Outcome.delivered(None)


async def test_an_immediate_answer_can_have_the_id(crm, n8n):
    crm.mode, crm.answers_id = "onReceived", True
    assert await deliver(n8n) == Outcome.delivered("1")


async def test_who_is_answered_immediately_is_delivered_even_if_the_run_fails_later(crm, n8n):
    crm.mode, crm.workflow.failing = "onReceived", {"ada@example.com"}
    assert await deliver(n8n) == Outcome.delivered(None)
    assert [execution.status for execution in crm.workflow.executions] == ["error"]


async def test_who_the_webhooks_condition_keeps_out_is_not_delivered(crm, n8n):
    crm.runs_only_if = False
    outcome = await deliver(n8n)
    assert (outcome.verdict, outcome.code) == (Verdict.REJECTED, "REJECTED")
    assert "Only Run If" in outcome.reason


@pytest.mark.parametrize("mode", ["lastNode", "lastNode-all", "responseNode"])
async def test_each_mode_that_waits_for_the_run_tells_the_id(crm, n8n, mode):
    crm.mode = mode
    assert await deliver(n8n) == Outcome.delivered("1")


@pytest.mark.parametrize("mode", ["lastNode", "lastNode-all", "responseNode"])
async def test_each_mode_that_waits_for_the_run_tells_of_its_failure(crm, n8n, mode):
    crm.mode, crm.workflow.failing = mode, {"ada@example.com"}
    outcome = await deliver(n8n)
    assert (outcome.verdict, outcome.code) == (Verdict.FAILED, "WORKFLOW_FAILED")
    assert "see its executions" in outcome.reason


async def test_the_failure_of_a_list_is_for_the_lane_to_find_out_about(crm, lists):
    crm.workflow.failing = {"2@example.com"}
    errors = await lists.deliver(CROWD)
    assert len(set(map(id, errors))) == 1
    assert isinstance(errors[0], BatchRefusedError)
    assert (errors[0].code, errors[0].retried) == ("WORKFLOW_FAILED", True)


async def test_a_last_node_without_an_item_fails_each_contact_and_says_what_to_do(crm, lists):
    crm.mode, crm.workflow.losing = "lastNode", {one.email for one in CROWD}
    outcomes = await lists.deliver(CROWD)
    assert [(one.verdict, one.code) for one in outcomes] == [(Verdict.FAILED, "WORKFLOW_FAILED")] * 3
    assert "returned nothing" in outcomes[0].reason


@pytest.mark.parametrize("said", [{"executionId": 14}, {"execution_id": "14"}, [{"execution_id": 14}, {"name": "x"}]])
async def test_an_execution_id_is_that_of_all_contacts(prepared, alone, listing, said):
    prepared.answer(WEBHOOK, 202, said)
    assert await deliver(alone) == Outcome.delivered("14")
    prepared.answer(WEBHOOK, 200, said)
    assert await listing.deliver(CROWD) == [Outcome.delivered("14")] * 3


@pytest.mark.parametrize("said", [{"id": "c7", "execution_id": "14"}, {"remote_id": "c7"}, [{"id": "c7", "contact_id": 991}]])
async def test_the_id_of_a_contact_goes_before_that_of_the_execution(prepared, alone, said):
    prepared.answer(WEBHOOK, 200, said)
    assert await deliver(alone) == Outcome.delivered("c7")


def entries(**more):
    """An entry for each of the crowd, by either name, with additional members for the second."""
    return [
        {"contact_id": 1, "id": 11},
        {"idempotency_key": idempotency_key(CROWD[1]), "remote_id": "12", **more},
        {"contact_id": "3"},
    ]


@pytest.mark.parametrize("wrapped", [True, False])
async def test_each_contact_of_a_list_gets_its_own_entry(prepared, listing, wrapped):
    listed = list(reversed(entries()))
    prepared.answer(WEBHOOK, 200, {"execution_id": "14", "contacts": listed} if wrapped else listed)
    assert await listing.deliver(CROWD) == [
        Outcome.delivered("11"),
        Outcome.delivered("12"),
        Outcome.delivered("14" if wrapped else None),
    ]


@pytest.mark.parametrize("error", ["no such company", {"message": "no such company"}, ["no such company"]])
async def test_an_entry_with_an_error_is_rejected_in_these_words_and_the_others_are_not(prepared, listing, error):
    prepared.answer(WEBHOOK, 200, entries(error=error))
    first, second, third = await listing.deliver(CROWD)
    assert (first, third) == (Outcome.delivered("11"), Outcome.delivered(None))
    assert (second.verdict, second.code) == (Verdict.REJECTED, "REJECTED")
    assert "no such company" in second.reason


async def test_an_entry_that_asks_for_a_retry_gets_one(prepared, listing):
    prepared.answer(WEBHOOK, 200, entries(error="the ERP is closed", retry=True))
    _, second, _ = await listing.deliver(CROWD)
    assert (second.verdict, second.code) == (Verdict.FAILED, "WORKFLOW_FAILED")
    assert "the ERP is closed" in second.reason


@pytest.mark.parametrize("error", [None, "", False, {}, []])
async def test_an_empty_error_is_none(prepared, listing, error):
    prepared.answer(WEBHOOK, 200, entries(error=error))
    assert (await listing.deliver(CROWD))[1] == Outcome.delivered("12")


async def test_one_error_among_several_entries_of_a_contact_counts(prepared, listing):
    prepared.answer(WEBHOOK, 200, [*entries(error="no such company"), *entries()])
    assert (await listing.deliver(CROWD))[1].verdict is Verdict.REJECTED


async def test_a_contact_that_the_answer_does_not_list_is_not_accounted_for(crm, lists):
    crm.workflow.losing = {"2@example.com"}
    first, second, third = await lists.deliver(CROWD)
    assert (first, third) == (Outcome.delivered("1"), Outcome.delivered("1"))
    assert (second.verdict, second.code) == (Verdict.FAILED, "NOT_ACCOUNTED")


async def test_a_contact_that_the_workflow_lost_is_not_accounted_for_when_alone_either(crm, n8n):
    crm.workflow.losing = {"ada@example.com"}
    assert (await deliver(n8n)).code == "NOT_ACCOUNTED"


@pytest.mark.parametrize("said", [[], {"contacts": []}])
async def test_an_answer_that_lists_nobody_accounts_for_nobody(prepared, listing, said):
    prepared.answer(WEBHOOK, 200, said)
    assert [one.code for one in await listing.deliver(CROWD)] == ["NOT_ACCOUNTED"] * 3


async def test_items_of_the_workflows_own_do_not_count_as_a_list_of_contacts(prepared, listing):
    prepared.answer(WEBHOOK, 200, [{"invoice": 5}, {"contact_id": 991}])
    assert await listing.deliver(CROWD) == [Outcome.delivered(None)] * 3


async def test_the_refusal_of_a_whole_list_in_a_success_is_for_the_lane_to_find_out_about(prepared, listing):
    prepared.answer(WEBHOOK, 200, {"error": "no such company for 2@example.com"})
    errors = await listing.deliver(CROWD)
    assert (errors[0].code, errors[0].retried) == ("REJECTED", False)
    assert "no such company for ***" in errors[0].reason
    prepared.answer(WEBHOOK, 200, {"error": "closed", "retry": True})
    assert (await listing.deliver(CROWD))[0].retried


async def test_an_error_in_the_answer_for_one_contact_is_its_own(prepared, alone):
    prepared.answer(WEBHOOK, 200, {"error": "no such company"})
    assert (await deliver(alone)).verdict is Verdict.REJECTED
    prepared.answer(WEBHOOK, 200, {"error": "closed", "retry": True})
    assert (await deliver(alone)).verdict is Verdict.FAILED


ACCEPTED = [
    None,
    b"",
    b"OK",
    b"7",
    "OK",
    7,
    True,
    {},
    [{}],
    [7],
    b"null",
    {"id": None},
    {"id": True},
    {"id": " "},
    {"id": "x" * 300},
]


@pytest.mark.parametrize("body", ACCEPTED, ids=lambda body: str(body)[:20])
@pytest.mark.parametrize("status", [200, 201, 202])
async def test_whatever_a_workflow_answers_with_success_is_delivered(prepared, alone, status, body):
    prepared.answer(WEBHOOK, status, body)
    assert await deliver(alone) == Outcome.delivered(None)


async def test_an_answer_without_content_is_delivered(prepared, alone):
    prepared.answer(WEBHOOK, 204)
    assert await deliver(alone) == Outcome.delivered(None)


@pytest.mark.parametrize("body", [b"<html>Please log in</html>", b"\n<!DOCTYPE html>"])
async def test_a_page_is_not_taken_for_n8n(prepared, alone, body):
    prepared.answer(WEBHOOK, 200, body)
    with pytest.raises(OutageError, match="BROKEN_ANSWER"):
        await deliver(alone)


@pytest.mark.parametrize(
    ("body", "coding"),
    [
        pytest.param(b"x" * (LARGEST_BODY_BYTES + 1), "", id="too large"),
        pytest.param(b"plain", "gzip", id="no gzip"),
        pytest.param(b'{"id": 7}', "br", id="a coding that was not asked for"),
        pytest.param('{"execution_id": "Zoë"}'.encode("latin-1"), "", id="in another charset"),
        pytest.param(b'{"execution_id": "1', "", id="half a JSON text"),
        pytest.param(b"[done]", "", id="no JSON"),
    ],
)
async def test_a_run_whose_answer_cannot_be_read_was_a_run_all_the_same(body, coding):
    """Sent again, it would run again."""
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nContent-Length: {len(body)}\r\n\r\n"
    async with answering(head.encode() + body) as url, client(url) as n8n:
        assert await deliver(n8n) == Outcome.delivered(None)


async def test_a_run_whose_answer_breaks_off_was_a_run_all_the_same():
    async with answering(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"id') as url, client(url) as n8n:
        assert await deliver(n8n) == Outcome.delivered(None)


async def test_a_page_that_breaks_off_is_a_page():
    async with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n<html>") as url, client(url) as n8n:
        with pytest.raises(OutageError, match="BROKEN_ANSWER"):
            await deliver(n8n)


@asynccontextmanager
async def answering(said):
    """A server that answers one request with these bytes, and no second one."""
    calls = 0

    async def serve(reader, writer):
        nonlocal calls
        calls += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        with suppress(ConnectionError):
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    assert calls == 1


# Refusals.


async def test_a_workflow_can_refuse_with_a_status_of_its_own(prepared, alone, listing):
    prepared.answer(WEBHOOK, 400, {"error": "no such company"})
    assert await deliver(alone) == Outcome.rejected("REJECTED", "n8n or the workflow refused it (400: no such company)")
    prepared.answer(WEBHOOK, 409, {"message": "no such company"})
    errors = await listing.deliver(CROWD)
    assert isinstance(errors[0], BatchRefusedError)
    assert (errors[0].code, errors[0].retried) == ("REJECTED", False)


async def test_a_body_that_n8n_cannot_read_is_the_contacts(prepared, alone):
    hint = "Unexpected token N in JSON"
    prepared.answer(WEBHOOK, 422, {"code": 422, "message": "Failed to parse request body", "hint": hint})
    outcome = await deliver(alone, note="what a proxy cut off")
    assert (outcome.verdict, outcome.code) == (Verdict.REJECTED, "REJECTED")
    assert f"Failed to parse request body {hint}" in outcome.reason


@pytest.mark.parametrize("status", [401, 402, 403, 404, 406, 413, 421, 451])
async def test_a_refusal_in_words_that_are_not_n8ns_is_by_status_alone(prepared, alone, listing, status):
    prepared.answer(WEBHOOK, status, b"<html><b>Not you</b>, Ada, at webhook/crm-sync</html>")
    with pytest.raises(StatusRefusedError, match=rf"{status}.*Not you , \*\*\*, at \*\*\*") as caught:
        await deliver(alone, name="Ada")
    assert "N8N_WEBHOOK_URL" in caught.value.reason
    prepared.answer(WEBHOOK, status, None)
    with pytest.raises(StatusRefusedError):
        await listing.deliver(CROWD)


async def test_a_gateways_json_is_not_n8ns(prepared, alone):
    for status in (401, 403, 404):
        prepared.answer(WEBHOOK, status, {"message": "Forbidden"})
        with pytest.raises(StatusRefusedError, match="Forbidden"):
            await deliver(alone)


async def test_a_407_is_the_proxys_even_in_json(prepared, alone):
    prepared.answer(WEBHOOK, 407, {"error": "proxy authentication required"})
    with pytest.raises(
        RefusedError, match=r"a proxy in front of n8n's API requires credentials.*check N8N_WEBHOOK_URL"
    ) as caught:
        await deliver(alone)
    assert type(caught.value) is RefusedError


async def test_a_list_that_is_too_large_for_n8n_is_halved_by_the_lane(crm, lists):
    crm.payload_limit_bytes = 300
    errors = await lists.deliver(CROWD)
    assert isinstance(errors[0], BatchRefusedError)
    assert "for a body of" in errors[0].reason
    assert await lists.deliver(CROWD[:1]) == [Outcome.delivered("1")]


async def test_a_single_contact_that_is_too_large_is_rejected(prepared, alone, monkeypatch):
    monkeypatch.setattr("crm_sync.crm.n8n.answers.SMALLEST_LIMIT_BYTES", 500)
    prepared.answer(WEBHOOK, 500, {"code": 0, "message": "There was a problem executing the workflow"})
    outcome = await deliver(alone, notes="x" * 500)
    assert (outcome.verdict, outcome.code) == (Verdict.REJECTED, "REJECTED")
    assert "N8N_PAYLOAD_SIZE_MAX" in outcome.reason


async def test_a_run_that_was_cancelled_has_the_same_words_and_is_tried_again(prepared, alone):
    prepared.answer(WEBHOOK, 500, {"code": 0, "message": "There was a problem executing the workflow"})
    outcome = await deliver(alone)
    assert (outcome.verdict, outcome.code) == (Verdict.FAILED, "WORKFLOW_FAILED")


@pytest.mark.parametrize("status", [400, 405, 410, 415])
async def test_an_error_that_is_no_json_marks_nobody(prepared, alone, status):
    prepared.answer(WEBHOOK, status, b"<html>Ada Lovelace may not</html>")
    with pytest.raises(RefusedError, match=r"NOT_FOUND: .*check N8N_WEBHOOK_URL") as caught:
        await deliver(alone, name="Ada Lovelace")
    assert "Ada" not in str(caught.value)


async def test_an_upgrade_that_nobody_asked_for_marks_nobody():
    upgrade = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    async with answering(upgrade) as url, client(url) as n8n:
        with pytest.raises(OutageError, match=r"BROKEN_ANSWER: what answered 101 is not the CRM: check N8N_WEBHOOK_URL"):
            await deliver(n8n)


# If there is no workflow.


async def test_an_inactive_workflow_is_said_to_be_in_n8ns_words(crm, n8n):
    crm.phase = "inactive"
    with pytest.raises(RefusedError, match=r"INACTIVE: .*The workflow must be active for a production URL") as caught:
        await deliver(n8n)
    assert "webhook/" not in caught.value.reason, "without authentication the path is the secret"
    assert "POST crm-sync" not in caught.value.reason


async def test_a_webhook_of_another_method_is_said_to_be_one(crm, n8n):
    crm.method = "GET"
    with pytest.raises(RefusedError, match=r"INACTIVE: .*not registered for POST requests. Did you mean to make a GET request"):
        await deliver(n8n)


async def test_an_n8n_that_is_starting_is_waited_for(crm, n8n):
    crm.phase = "starting"
    with pytest.raises(StatusRefusedError, match="NOT_READY: "):
        await deliver(n8n)
    crm.phase = "active"
    assert (await deliver(n8n)).verdict is Verdict.DELIVERED


async def test_an_n8n_that_migrates_its_database_answers_200_and_has_delivered_nothing(crm, n8n):
    crm.phase = "migrating"
    with pytest.raises(OutageError, match="NOT_READY: "):
        await deliver(n8n)


async def test_a_404_that_is_not_n8ns_marks_nobody(prepared, alone):
    prepared.answer(WEBHOOK, 404, {"error": "no route"})
    with pytest.raises(RefusedError, match=r"NOT_FOUND: .*N8N_WEBHOOK_URL"):
        await deliver(alone)


# Outages.


@pytest.mark.parametrize("status", [500, 502, 503, 521])
async def test_a_failing_n8n_or_proxy_is_an_outage(prepared, alone, status):
    prepared.answer(WEBHOOK, status, b"<html>Bad gateway</html>")
    with pytest.raises(OutageError, match=f"CRM_ERROR: .*{status}: <html>Bad gateway</html>"):
        await deliver(alone)


@pytest.mark.parametrize("status", [504, 524])
async def test_a_proxy_that_gave_up_waiting_says_nothing_of_the_run(prepared, alone, status):
    prepared.answer(WEBHOOK, status, b"<html>A timeout occurred</html>")
    with pytest.raises(OutageError, match=r"TIMEOUT: .*the run may go on"):
        await deliver(alone)


async def test_a_proxy_that_has_enough_is_obeyed(prepared, alone):
    prepared.answer(WEBHOOK, 429, b"slow down", **{"Retry-After": "7"})
    with pytest.raises(ThrottledError) as caught:
        await deliver(alone)
    assert caught.value.pause_s == 7


async def test_a_redirect_is_not_followed(crm, n8n):
    answers(crm, 302, None, Location="/login")
    with pytest.raises(RefusedError, match="REDIRECTED"):
        await deliver(n8n)


async def test_what_an_error_quotes_of_the_contacts_is_masked(prepared, listing):
    prepared.answer(WEBHOOK, 503, {"message": "Ada Lovelace (ada@example.com) broke it"})
    with pytest.raises(OutageError) as caught:
        await listing.deliver([contact(name="Ada Lovelace")])
    assert "Lovelace" not in caught.value.reason
    assert "ada@" not in caught.value.reason


async def test_a_call_that_waits_in_n8ns_queue_for_too_long_is_a_timeout_and_runs_nevertheless():
    hold = Hold()
    async with N8nSandbox(mode="onReceived") as crm, client(crm.url, timeout_s=0.1) as n8n:
        crm.next_faults.append(Fault(applies=True, hold=hold))
        with pytest.raises(OutageError, match="TIMEOUT"):
            await deliver(n8n)
        assert len(crm.workflow.executions) == 1
        assert await deliver(n8n) == Outcome.delivered(None)
        assert crm.workflow.duplicates == 1
        hold.release()


async def test_no_n8n_at_all_is_not_sent():
    async with N8nSandbox() as gone:
        pass
    async with client(gone.url) as n8n:
        with pytest.raises(NotSentError, match="UNREACHABLE"):
            await deliver(n8n)


# The check.


async def test_the_check_finds_the_workflow_and_starts_no_run(crm, n8n):
    assert (await n8n.check()).startswith("an active workflow is listening; the first contact tests the credentials")
    assert crm.workflow.executions == []
    assert [request.method for request in crm.requests] == ["GET", "OPTIONS"]


async def test_the_check_starts_no_run_of_a_webhook_for_get_either(crm, n8n):
    crm.method = "GET"
    with pytest.raises(RefusedError, match=r"INACTIVE: .*only for OPTIONS, GET"):
        await n8n.check()
    assert crm.workflow.executions == []


async def test_the_check_finds_an_inactive_workflow(crm, n8n):
    crm.phase = "inactive"
    with pytest.raises(RefusedError, match="INACTIVE"):
        await n8n.check()


@pytest.mark.parametrize("phase", ["starting", "migrating"])
async def test_the_check_waits_for_an_n8n_that_is_starting(crm, n8n, phase):
    crm.phase = phase
    with pytest.raises(LaneError, match="NOT_READY"):
        await n8n.check()


async def test_the_check_of_a_path_without_webhooks_says_that_it_may_be_none(crm):
    async with client(crm.url, target="/elsewhere") as n8n:
        with pytest.raises(StatusRefusedError, match=r"NOT_READY: .*is not a webhook of n8n"):
            await n8n.check()


@pytest.mark.parametrize("answer", [Answer(405), Answer(204), Answer(200, b"ok")], ids=lambda answer: answer.status)
async def test_a_proxy_that_keeps_the_check_to_itself_is_said_to(crm, n8n, answer):
    crm.standing_faults.append(Fault(lambda call: call.method in ("GET", "OPTIONS"), answer=answer))
    assert "is not known" in await n8n.check()


async def test_the_check_does_not_take_a_page_for_n8n(crm, n8n):
    crm.standing_faults.append(Fault(answer=Answer(200, b"<html>Welcome</html>", HTML)))
    with pytest.raises(OutageError, match=r"BROKEN_ANSWER: .*N8N_WEBHOOK_URL"):
        await n8n.check()


async def test_the_check_of_an_n8n_below_a_path_asks_there(crm):
    async with client(crm.url, target="/automation/webhook/crm-sync") as n8n:
        with pytest.raises(StatusRefusedError):
            await n8n.check()
    assert crm.requests[0].path == "/automation/healthz/readiness"


# The settings.


@pytest.fixture
def setting(monkeypatch):
    def set_them(**values):
        for name, value in {"N8N_WEBHOOK_URL": "https://n8n.example.com/webhook/crm-sync", **values}.items():
            monkeypatch.setenv(name, value)

    return set_them


def test_without_a_url_there_is_no_account_and_with_all_but_that_it_is_missed(monkeypatch):
    assert account() is None
    monkeypatch.setenv("N8N_SIGNING_SECRET", SIGNING_SECRET)
    with pytest.raises(ConfigurationError, match=r"^N8N_WEBHOOK_URL: not set, but N8N_SIGNING_SECRET is: "):
        account()


def test_the_default_fields_have_the_names_of_their_columns(setting):
    setting()
    assert account().default_fields == DEFAULT_FIELDS
    assert all(name == column for name, column in DEFAULT_FIELDS.items())
    assert len(DEFAULT_FIELDS) == 11


@pytest.mark.parametrize("size", [1, 50])
async def test_the_account_of_the_settings_delivers(crm, setting, size):
    crm.authentication, crm.credentials, crm.signing_secret = "basic", ("ada", "password"), SIGNING_SECRET
    setting(
        N8N_WEBHOOK_URL=f"{crm.url}/webhook/crm-sync?a=b",
        N8N_BATCH_SIZE=str(size),
        N8N_USERNAME="ada",
        N8N_PASSWORD="password",
        N8N_SIGNING_SECRET=SIGNING_SECRET,
    )
    async with account().open(UNLIMITED) as n8n:
        assert n8n.batch_limit == size
        assert await deliver(n8n) == Outcome.delivered("1")
    assert crm.requests[0].query == {"a": "b"}


def test_n8n_gets_a_minute_to_answer(setting, monkeypatch):
    heard = {}
    monkeypatch.setattr(module, "over_http", lambda *_, **options: heard.update(options))
    setting()
    account()
    assert heard["timeout_s"] == 60.0


WRONG = [
    ({"N8N_WEBHOOK_URL": "n8n.example.com/webhook/x"}, "N8N_WEBHOOK_URL: expected a URL"),
    ({"N8N_WEBHOOK_URL": "https://[n8n/webhook/x"}, "N8N_WEBHOOK_URL: expected a URL"),
    ({"N8N_WEBHOOK_URL": "https://n8n.example.com/"}, "N8N_WEBHOOK_URL: expected a webhook's production URL"),
    ({"N8N_WEBHOOK_URL": "https://n8n.example.com?x=/webhook/"}, "N8N_WEBHOOK_URL: expected a webhook's production URL"),
    ({"N8N_WEBHOOK_URL": "https://n8n.example.com/webhook-test/x"}, "N8N_WEBHOOK_URL: this is the test URL"),
    ({"N8N_WEBHOOK_URL": "http://n8n.example.com/webhook/x"}, "N8N_WEBHOOK_URL: expected https"),
    ({"N8N_WEBHOOK_URL": "https://a:secret@n8n.example.com/webhook/x"}, "N8N_WEBHOOK_URL: expected a URL without a user"),
    ({"N8N_HEADER_NAME": "X-Key"}, "N8N_HEADER_VALUE: not set, but N8N_HEADER_NAME is"),
    ({"N8N_HEADER_VALUE": "secret"}, "N8N_HEADER_NAME: not set, but N8N_HEADER_VALUE is"),
    ({"N8N_USERNAME": "ada"}, "N8N_PASSWORD: not set"),
    ({"N8N_PASSWORD": "secret"}, "N8N_USERNAME: not set"),
    ({"N8N_USERNAME": "a:b", "N8N_PASSWORD": "secret"}, "N8N_USERNAME: must not contain a colon"),
    ({"N8N_HEADER_NAME": "X Key", "N8N_HEADER_VALUE": "secret"}, "N8N_HEADER_NAME: expected"),
    ({"N8N_HEADER_NAME": "Transfer-Encoding", "N8N_HEADER_VALUE": "secret"}, "N8N_HEADER_NAME: expected"),
    ({"N8N_HEADER_NAME": "connection", "N8N_HEADER_VALUE": "secret"}, "N8N_HEADER_NAME: expected"),
    ({"N8N_HEADER_NAME": "Content-Type", "N8N_HEADER_VALUE": "secret"}, "N8N_HEADER_NAME: expected"),
    ({"N8N_HEADER_NAME": "X-Key", "N8N_HEADER_VALUE": "secret\nsecret"}, "N8N_HEADER_VALUE: expected"),
    (
        {"N8N_HEADER_NAME": "X-Key", "N8N_HEADER_VALUE": "secret", "N8N_JWT_SECRET": PASSPHRASE},
        "N8N_HEADER_NAME and N8N_JWT_SECRET",
    ),
    (
        {"N8N_USERNAME": "ada", "N8N_PASSWORD": "secret", "N8N_JWT_SECRET": PASSPHRASE},
        "N8N_USERNAME and N8N_JWT_SECRET: a webhook uses",
    ),
    ({"N8N_JWT_SECRET": "secret"}, "N8N_JWT_SECRET: expected at least 32 bytes"),
    ({"N8N_BATCH_SIZE": "0"}, "N8N_BATCH_SIZE"),
]


@pytest.mark.parametrize(("values", "said"), WRONG, ids=lambda value: None if isinstance(value, dict) else value[:40])
def test_a_setting_that_is_wrong_is_named_without_its_value(setting, values, said):
    setting(**values)
    with pytest.raises(ConfigurationError) as caught:
        account()
    assert said in str(caught.value)
    assert "secret" not in str(caught.value).replace("N8N_SIGNING_SECRET", "")


def test_a_login_without_anything_sends_nothing():
    assert read_login(N8nSettings()) == Login()
    assert Login().token() is None


# The included workflow.


def test_the_workflow_is_printed_as_n8n_imports_it():
    result = CliRunner().invoke(n8n_workflow)
    assert result.exit_code == 0
    workflow = json.loads(result.output)
    nodes = {node["name"]: node for node in workflow["nodes"]}
    assert len(nodes) == len(workflow["nodes"])
    [webhook] = [node for node in nodes.values() if node["type"] == "n8n-nodes-base.webhook"]
    assert webhook["parameters"]["httpMethod"] == "POST"
    assert webhook["parameters"]["options"] == {"rawBody": True}, "the signature is one of bytes; Ignore Bots is off"
    assert "pinData" not in workflow or workflow["pinData"] == {}
    named = {target["node"] for outputs in workflow["connections"].values() for output in outputs["main"] for target in output}
    assert named | set(workflow["connections"]) <= set(nodes)


def test_the_workflow_has_no_secret_in_it():
    nodes = json.loads(CliRunner().invoke(n8n_workflow).output)["nodes"]
    assert [list(node["credentials"]) for node in nodes if "credentials" in node] == [["httpHeaderAuth"], ["crypto"]]
    assert "hmacSecret" not in json.dumps(nodes)


# Everybody.


async def test_several_calls_at_once_are_each_answered(crm, n8n):
    outcomes = await asyncio.gather(*(deliver(n8n, f"{number}@example.com", number) for number in range(20)))
    assert {outcome.verdict for outcome in outcomes} == {Verdict.DELIVERED}
    assert len({outcome.remote_id for outcome in outcomes}) == 20
