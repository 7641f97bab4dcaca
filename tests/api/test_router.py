"""The API's routes in a Starlette application."""

import asyncio
from urllib.parse import quote

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from crm_sync.api.references import References
from crm_sync.api.router import Caller, Scope, router
from crm_sync.core.addresses import without_addresses
from tests.manual import blocks
from tests.steps import insert, read

[MANUAL] = blocks("reference/api.md")


async def authenticate(request):
    """By a header of the application's own."""
    name = request.headers.get("x-user")
    if name is None:
        return None
    return Caller(name, frozenset(Scope) if name == "admin" else frozenset({Scope.READ}))


@pytest.fixture
async def client(console_url, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", console_url)
    mounted = router(authenticate)
    app = Starlette(routes=[Mount("/crm", mounted)])
    async with (
        mounted.router.lifespan_context(mounted),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app.example/crm/v1") as client,
    ):
        yield client


async def test_an_application_selects_queues_and_reads_back(app, client):
    contact = await insert(app, "New")
    answer = await client.post(f"/contacts/{contact}/brevo", json={"status": "Queued"}, headers={"X-User": "admin"})
    assert (answer.status_code, answer.json()["changed"]) == (200, 1)
    answer = await client.get(f"/contacts/{contact}", headers={"X-User": "reader"})
    assert {one["crm"]: one["status"] for one in answer.json()["crms"]}["brevo"] == "Queued"
    assert (await read(app, contact))["sync_status"] == "Queued"


async def test_who_may_do_what_is_the_applications_word(app, client):
    contact = await insert(app, "New")
    assert (await client.get("/crms")).status_code == 401
    answer = await client.post(f"/contacts/{contact}/brevo", json={"status": "Queued"}, headers={"X-User": "reader"})
    assert (answer.status_code, answer.headers["content-type"]) == (403, "application/problem+json")
    assert (await read(app, contact))["sync_status"] == "New"


@pytest.mark.parametrize("key", ["a/b", "{braces}", "ada@example.com"])
async def test_whatever_is_in_a_key_it_leads_to_its_contact(app, client, key):
    await app.execute("ALTER TABLE contacts ALTER id DROP DEFAULT")
    answer = await client.get(f"/contacts/{quote(key, safe='')}", headers={"X-User": "admin"})
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert answer.json()["detail"] == f"no contact has the key {without_addresses(key)}"
    answer = await client.post(f"/contacts/{quote(key, safe='')}/brevo", json={"status": "New"}, headers={"X-User": "admin"})
    assert "not valid: the table's key is of type uuid" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("PATCH", "/crms", 405), ("POST", "/openapi.json", 405), ("PUT", "/contacts/a", 405)],
)
async def test_no_answer_is_the_frameworks_own(client, method, path, status):
    answer = await client.request(method, path, headers={"X-User": "admin"})
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert ("allow" in answer.headers) == (status == 405)


async def test_a_fault_of_ours_is_a_problem_that_shows_nothing_of_itself():
    async def fails(_request):
        raise ValueError("what nobody is to see")

    transport = httpx.ASGITransport(router(fails), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://app.example") as client:
        answer = await client.get("/v1/crms")
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert "nobody is to see" not in answer.text


async def test_processes_with_one_secret_take_each_others_references(console_url, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", console_url)
    reference = References(b"shared").sealed("nothing")
    for secret, words in ((b"shared", "no contact has the key nothing"), (None, "find the contact again")):
        mounted = router(authenticate, secret=secret)
        async with (
            mounted.router.lifespan_context(mounted),
            httpx.AsyncClient(transport=httpx.ASGITransport(mounted), base_url="http://app.example/v1") as client,
        ):
            answer = await client.get(f"/contacts/{reference}", headers={"X-User": "admin"})
            assert words in answer.json()["detail"]


async def test_the_document_says_where_it_is_mounted(client):
    document = (await client.get("/openapi.json")).json()
    assert document["servers"] == [{"url": "/crm"}]


async def test_a_body_without_end_is_not_read_to_its_end(client):
    async def endless():
        while True:
            yield b"x" * 100_000

    headers = {"X-User": "admin", "Content-Type": "application/json"}
    answer = await client.post("/selections", content=endless(), headers=headers)
    assert answer.status_code == 413


async def test_the_code_of_the_manual_mounts_it(app, console_url, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", console_url)
    its: dict = {}
    exec(MANUAL, its)  # noqa: S102 (ours)
    contact = await insert(app, "New")
    [mount] = its["app"].routes
    async with (
        mount.app.router.lifespan_context(mount.app),  # closes at the end; no server runs a mounted application's lifespan
        httpx.AsyncClient(transport=httpx.ASGITransport(its["app"]), base_url="http://app.example") as client,
    ):
        assert (await client.get("/crm/v1/crms")).status_code == 401
        answer = await client.post(f"/crm/v1/contacts/{contact}/brevo", json={"status": "Queued"}, headers={"X-User": "ada"})
        assert answer.json()["changed"] == 1


async def test_wrong_settings_are_a_problem_and_no_traceback(client, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "nonsense")
    answer = await client.get("/crms", headers={"X-User": "admin"})
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert "DATABASE_URL" in answer.json()["detail"]


async def test_requests_that_come_together_open_one_pool(app, client):
    answers = await asyncio.gather(*(client.get("/crms", headers={"X-User": "admin"}) for _ in range(8)))
    assert {answer.status_code for answer in answers} == {200}
    assert await app.fetchval("SELECT count(*) FROM pg_stat_activity WHERE usename LIKE 'crm_sync_console%'") <= 4
