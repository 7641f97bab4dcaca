"""What the fake n8n does, read by name: its contract with a client."""

import asyncio
import hashlib
import hmac
import json
from collections import namedtuple
from itertools import pairwise

import aiohttp
import jwt
import pytest

from crm_sync.sandbox.n8n.sandbox import N8nSandbox

WEBHOOK = "/webhook/crm-sync"
PASSPHRASE = "a passphrase of thirty-two bytes or more"
ANA, BEN = "ana@example.com", "ben@example.com"

Reply = namedtuple("Reply", "status body headers")


class Client:
    def __init__(self, session):
        self.session = session

    async def ask(self, method, path, body=None, **options):
        async with self.session.request(method, path, json=body, **options) as response:
            text = await response.text()
            with_json = response.headers.get("Content-Type", "").startswith("application/json")
            return Reply(response.status, json.loads(text) if with_json else text, response.headers)

    async def call(self, body=None, **options):
        return await self.ask("POST", WEBHOOK, body, **options)


@pytest.fixture
async def n8n():
    async with N8nSandbox() as sandbox:
        yield sandbox


@pytest.fixture
async def client(n8n):
    async with aiohttp.ClientSession(n8n.url) as session:
        yield Client(session)


def contact(email=ANA, key="k1", **fields):
    return {"idempotency_key": key, "contact_id": "1", "n8n_workflow_id": None, "email": email, "fields": fields}


# Whether it is there.


async def test_a_start_goes_through_what_n8n_was_seen_to_go_through(n8n, client):
    seen = []
    for n8n.phase in ("migrating", "starting", "inactive", "active"):
        reply = await client.call(contact())
        readiness = await client.ask("GET", "/healthz/readiness")
        health = await client.ask("GET", "/healthz")
        seen.append((reply.status, type(reply.body), readiness.status, readiness.body, health.body))
    assert seen == [
        (200, str, 503, {"status": "error"}, {"status": "ok"}),
        (404, str, 503, {"status": "error"}, {"status": "ok"}),
        (404, dict, 200, {"status": "ok"}, {"status": "ok"}),
        (200, dict, 200, {"status": "ok"}, {"status": "ok"}),
    ]
    assert len(n8n.workflow.executions) == 1


async def test_the_first_words_of_a_start_have_the_status_of_a_success(n8n, client):
    n8n.phase = "migrating"
    assert (await client.call(contact()))[:2] == (200, "n8n is starting up. Please wait")


async def test_before_webhooks_are_there_their_paths_are_unknown_pages(n8n, client):
    n8n.phase = "starting"
    reply = await client.call(contact())
    assert reply.headers["Content-Type"].startswith("text/html")
    assert "Cannot POST /webhook/crm-sync" in reply.body


@pytest.mark.parametrize("path", [WEBHOOK, "/webhook/nope"])
async def test_an_inactive_workflow_and_an_unknown_path_are_answered_alike(n8n, client, path):
    n8n.phase = "inactive" if path == WEBHOOK else "active"
    reply = await client.ask("POST", path, contact())
    name = path.removeprefix("/webhook/")
    assert (reply.status, reply.body["code"]) == (404, 404)
    assert reply.body["message"] == f'The requested webhook "POST {name}" is not registered.'
    assert reply.body["hint"].startswith("The workflow must be active for a production URL to run successfully.")


async def test_the_test_url_waits_for_a_click(client):
    reply = await client.ask("POST", "/webhook-test/crm-sync", contact())
    assert (reply.status, reply.body["message"]) == (404, 'The requested webhook "crm-sync" is not registered.')
    assert reply.body["hint"].startswith("Click the 'Execute workflow' button")


async def test_another_method_is_told_the_right_one(client):
    assert (await client.ask("GET", WEBHOOK))[:2] == (
        404,
        {"code": 404, "message": "This webhook is not registered for GET requests. Did you mean to make a POST request?"},
    )


async def test_options_tells_another_site_the_methods_and_runs_nothing(n8n, client):
    origin = {"Origin": "https://example.com"}
    told = [
        (await client.ask("OPTIONS", path, headers=headers)).headers.get("Access-Control-Allow-Methods")
        for path, headers in [(WEBHOOK, origin), ("/webhook/nope", origin), (WEBHOOK, {})]
    ]
    assert told == ["OPTIONS, POST", "OPTIONS", None]
    assert n8n.workflow.executions == []


# The body.


async def test_a_body_that_is_no_json_is_refused_before_the_caller_is_looked_at(n8n, client):
    n8n.authentication, n8n.credentials = "header", ("X-Key", "value")
    for body in (b'{"email"', b'{"score": NaN}', b'{"score": -Infinity}'):
        reply = await client.call(data=body, headers={"Content-Type": "application/json"})
        assert (reply.status, reply.body["message"]) == (422, "Failed to parse request body")


async def test_a_body_that_is_too_large_is_a_500_and_no_413(n8n, client):
    n8n.payload_limit_bytes = 1000
    assert (await client.call(contact(notes="x" * 500))).status == 200
    reply = await client.call(contact(notes="x" * 1000))
    assert reply[:2] == (500, {"code": 0, "message": "There was a problem executing the workflow"})
    assert len(n8n.workflow.executions) == 1


def test_the_limit_is_n8ns():
    assert N8nSandbox().payload_limit_bytes == 16 * 1024 * 1024


# The caller.


def token(passphrase=PASSPHRASE, **claims):
    return {"Authorization": f"Bearer {jwt.encode(claims, passphrase, algorithm='HS256')}"}


HEADER, BASIC, JWT = ("header", ("X-Key", "value")), ("basic", ("ada", "password")), ("jwt", (PASSPHRASE,))
GOOD_BASIC = "Basic YWRhOnBhc3N3b3Jk"


@pytest.mark.parametrize(
    ("node", "headers", "answer"),
    [
        (HEADER, {"X-Key": "value"}, None),
        (HEADER, {}, (403, "Authorization data is wrong!")),
        (HEADER, {"X-Key": "wrong"}, (403, "Authorization data is wrong!")),
        (BASIC, {"Authorization": GOOD_BASIC}, None),
        (BASIC, {}, (401, "Authorization is required!")),
        (BASIC, {"Authorization": "Basic wrong"}, (401, "Authentication data is wrong!")),
        (JWT, token(), None),
        (JWT, {}, (401, "No token provided")),
        (JWT, {"Authorization": "Bearer wrong"}, (403, "invalid token")),
        (JWT, token(PASSPHRASE[::-1]), (403, "invalid signature")),
        (JWT, token(exp=1), (403, "jwt expired")),
        *(((kind, None), {}, (500, "No authentication data defined on node!")) for kind in ("header", "basic", "jwt")),
    ],
)
async def test_a_caller_is_refused_in_plain_text(n8n, client, node, headers, answer):
    n8n.authentication, n8n.credentials = node
    reply = await client.call(contact(), headers=headers)
    if answer is None:
        assert reply.status == 200
    else:
        assert reply[:2] == answer
        assert reply.headers["WWW-Authenticate"] == 'Basic realm="Webhook"'
        assert n8n.workflow.executions == []


async def test_the_option_ignore_bots_takes_a_program_for_a_bot(n8n, client):
    n8n.ignore_bots = True
    agents = ["crm-sync/1.0", "", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/143.0 Safari/537.36"]
    replies = [await client.call(contact(), headers={"User-Agent": agent}) for agent in agents]
    assert [reply.status for reply in replies] == [403, 200, 200]
    assert replies[0].body == "Authorization data is wrong!"


async def test_an_address_that_is_not_allowed_is_refused(n8n, client):
    n8n.allows_address = False
    assert (await client.call(contact()))[:2] == (403, "IP is not allowed to access the webhook!")


async def test_a_condition_that_is_false_starts_no_run_and_is_a_success(n8n, client):
    n8n.runs_only_if = False
    assert (await client.call(contact()))[:2] == (200, {"message": "Webhook call received"})
    assert n8n.workflow.executions == []


async def test_the_workflow_checks_the_signature_if_it_has_a_secret(n8n, client):
    n8n.signing_secret = "secret"
    body = json.dumps(contact(name="Søn"), ensure_ascii=False, separators=(",", ":")).encode()
    good = hmac.new(b"secret", body, hashlib.sha256).hexdigest()
    replies = [
        await client.call(data=body, headers={"Content-Type": "application/json", **headers})
        for headers in ({"X-Crm-Sync-Signature": good}, {"X-Crm-Sync-Signature": good[::-1]}, {})
    ]
    assert [reply.status for reply in replies] == [200, 401, 401]


# The ways to answer.


@pytest.mark.parametrize(
    ("mode", "success", "failure"),
    [
        ("onReceived", {"message": "Workflow was started"}, (200, {"message": "Workflow was started"})),
        ("lastNode", {"idempotency_key": "k1", "id": "1"}, (500, {"message": "Error in workflow"})),
        ("lastNode-all", [{"idempotency_key": "k1", "id": "1"}], (500, {"message": "Error in workflow"})),
        (
            "responseNode",
            {"execution_id": "1", "contacts": [{"idempotency_key": "k1", "id": "1"}]},
            (500, {"message": "Error in workflow"}),
        ),
    ],
)
async def test_each_mode_answers_in_its_way_and_lists_the_execution(n8n, client, mode, success, failure):
    n8n.mode, n8n.workflow.failing = mode, {BEN}
    assert (await client.call(contact()))[:2] == (200, success)
    assert (await client.call(contact(BEN, "k2")))[:2] == failure
    assert [execution.status for execution in n8n.workflow.executions] == ["success", "error"]
    assert list(n8n.workflow.contacts) == [ANA], "what failed changed nothing"


async def test_an_immediate_answer_can_have_the_executions_id(n8n, client):
    n8n.mode, n8n.answers_id = "onReceived", True
    assert (await client.call(contact())).body == {"execution_id": "1"}


async def test_a_last_node_without_an_item_is_a_500_or_an_empty_array(n8n, client):
    n8n.workflow.losing = {ANA}
    n8n.mode = "lastNode"
    assert (await client.call(contact()))[:2] == (500, {"code": 0, "message": "No item to return was found"})
    n8n.mode = "lastNode-all"
    assert (await client.call(contact()))[:2] == (200, [])


async def test_a_body_of_another_shape_fails_in_the_workflow(n8n, client):
    for body in ({}, [], {"contacts": [1]}, {"contacts": contact()}):
        assert (await client.call(body))[:2] == (500, {"message": "Error in workflow"})
    assert n8n.stats()["failed_executions"] == 4


# The workflow.


async def test_contacts_are_kept_by_address_and_the_last_write_wins(n8n, client):
    await client.call(contact(name="Ana"))
    await client.call({"contacts": [contact("ANA@example.com", "k2", name="Anna"), contact(BEN, "k3")]})
    assert [(one.email, one.fields, one.execution_id) for one in n8n.workflow.contacts.values()] == [
        (ANA, {"name": "Anna"}, "2"),
        (BEN, {}, "2"),
    ]


async def test_the_same_key_again_changes_nothing_and_is_answered_with_the_first_id(n8n, client):
    await client.call(contact(name="Ana"))
    reply = await client.call(contact(name="somebody else"))
    assert reply.body == {"execution_id": "2", "contacts": [{"idempotency_key": "k1", "id": "1"}]}
    assert n8n.workflow.contacts[ANA].fields == {"name": "Ana"}
    assert n8n.stats()["duplicates"] == 1


async def test_a_run_that_failed_does_not_use_up_the_key(n8n, client):
    n8n.workflow.failing = {ANA}
    await client.call(contact())
    n8n.workflow.failing = set()
    assert (await client.call(contact())).status == 200
    assert ANA in n8n.workflow.contacts
    assert n8n.stats()["duplicates"] == 0


async def test_one_contact_can_be_refused_and_another_lost(n8n, client):
    n8n.workflow.refusing, n8n.workflow.losing = {ANA: "no such company"}, {BEN}
    reply = await client.call({"contacts": [contact(), contact(BEN, "k2"), contact("eve@example.com", "k3")]})
    assert reply.body["contacts"] == [
        {"idempotency_key": "k1", "error": "no such company"},
        {"idempotency_key": "k3", "id": "1"},
    ]
    assert list(n8n.workflow.contacts) == ["eve@example.com"]


# Its queue.


async def reaches(condition):
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 (a condition of the sandbox, which has no event for it)
            await asyncio.sleep(0)


@pytest.mark.parametrize("mode", ["onReceived", "responseNode"])
async def test_with_a_concurrency_limit_calls_wait_even_those_that_are_answered_at_once(mode):
    async with (
        N8nSandbox(mode=mode, concurrency_limit=1, run_s=0.1) as n8n,
        aiohttp.ClientSession(n8n.url) as session,
    ):
        calls = [asyncio.create_task(Client(session).call(contact(key=f"k{number}"))) for number in range(3)]
        await reaches(lambda: len(n8n.workflow.executions) == 1)
        assert (await Client(session).ask("GET", "/healthz")).status == 200
        assert len(n8n.workflow.executions) == 1
        await asyncio.gather(*calls)
        began = [request.monotonic_s for request in n8n.requests if request.path == WEBHOOK]
        assert len(began) == 3
        assert all(later - earlier >= 0.099 for earlier, later in pairwise(began))


async def test_a_caller_that_gave_up_waiting_is_served_nevertheless():
    async with N8nSandbox(concurrency_limit=1, run_s=0.4) as n8n, aiohttp.ClientSession(n8n.url) as session:
        first = asyncio.create_task(Client(session).call(contact()))
        await reaches(lambda: len(n8n.workflow.executions) == 1)
        with pytest.raises(TimeoutError):
            await Client(session).call(contact(BEN, "k2"), timeout=aiohttp.ClientTimeout(total=0.2))
        await first
        await reaches(lambda: BEN in n8n.workflow.contacts)


# The view from another process.


async def test_the_control_pages_show_contacts_executions_and_arrivals(n8n, client):
    n8n.workflow.failing = {BEN}
    await client.call(contact(), headers={"Idempotency-Key": "k1"})
    await client.call({"contacts": [contact("ANA@example.com"), contact(BEN, "k2")]})
    contacts = (await client.ask("GET", "/_sandbox/contacts")).body
    assert [(one["email"], one["execution_id"]) for one in contacts] == [(ANA, "1")]
    executions = (await client.ask("GET", "/_sandbox/executions")).body
    assert [(run["id"], run["status"]) for run in executions] == [("1", "success"), ("2", "error")]
    assert executions[0]["body"] == contact()
    assert executions[0]["headers"]["Idempotency-Key"] == "k1"
    assert (await client.ask("GET", "/_sandbox/arrivals")).body == [
        [ANA, n8n.requests[0].wall_s],
        [BEN, n8n.requests[1].wall_s],
    ]
    assert (await client.ask("GET", "/_sandbox/stats")).body == {
        "requests": 2,
        "contacts": 1,
        "executions": 2,
        "failed_executions": 1,
        "duplicates": 0,
        "limit_breaches": 0,
    }


async def test_too_much_is_said_by_a_proxy_for_n8n_has_no_429(n8n):
    assert n8n.throttled().status == 503
    assert n8n.throttled().body.startswith(b"<html>")


async def test_a_refusal_is_one_of_the_workflow(n8n):
    assert (n8n.refused().status, list(n8n.refused().body)) == (400, ["error"])
