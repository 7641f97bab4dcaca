"""The framework's own answers are never shown: people get a page of ours, programs a problem, and both the headers."""

from io import BytesIO

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from crm_sync.api.references import References
from crm_sync.console.answers import Answers
from crm_sync.console.drawing import Drawing
from crm_sync.console.templating import Pages
from tests.console.running import OURS
from tests.console.test_pages import text_of
from tests.manual import page as manual


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("GET", "nothing", 404, "There is no such page."),
        ("GET", "static/nothing", 404, "There is no such file."),
        ("POST", "contacts", 405, "only looked at"),
        ("PUT", "", 405, "only looked at"),
        ("DELETE", "crms/brevo", 405, "only looked at"),
        ("POST", "livez", 405, "only looked at"),
    ],
)
async def test_a_person_gets_a_page(signed_in, method, path, status, words):
    async with signed_in.http.request(method, signed_in.where + path, headers=OURS) as response:
        page = await response.text()
        assert (response.status, response.content_type) == (status, "text/html")
        assert "<main" in page
        assert words in text_of(page)
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        assert ("Allow" in response.headers) == (status == 405)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "", 404),
        ("GET", "/", 404),
        ("GET", "/nothing", 404),
        ("GET", "/contacts/", 404),
        ("POST", "/openapi.json", 405),
        ("PATCH", "/crms", 405),
        ("OPTIONS", "/contacts/a", 405),
    ],
)
async def test_a_program_gets_a_problem(signed_in, method, path, status):
    found, headers, said = await signed_in.call(method, path)
    assert (found, headers["Content-Type"].split(";")[0], said["status"]) == (status, "application/problem+json", status)
    assert f"### {said['title']}\n" in manual("reference/api.md")
    assert ("Allow" in headers) == (status == 405)


async def test_a_program_that_names_another_host_or_comes_from_another_page_gets_a_problem(signed_in):
    status, _, said = await signed_in.call("GET", "/crms", Host="evil.example")
    assert (status, said["status"], "CONSOLE_HOSTS" in said["detail"]) == (421, 421, True)
    status, _, said = await signed_in.call("POST", "/retries", {}, **{"Sec-Fetch-Site": "cross-site"})
    assert (status, said["title"]) == (403, "Not allowed")


async def test_a_form_that_is_too_large_is_a_page(signed_in):
    form = BytesIO(b"code=" + b"x" * 1_100_000)
    headers = {**OURS, "Content-Type": "application/x-www-form-urlencoded"}
    async with signed_in.http.post(f"{signed_in.where}selections", data=form, headers=headers) as response:
        status, page = response.status, await response.text()
    assert (status, "more than a form may send" in text_of(page)) == (413, True)


@pytest.mark.parametrize(("path", "kind"), [("/fails", "text/html"), ("/v1/fails", "application/problem+json")])
async def test_a_fault_of_ours_shows_nothing_of_itself(path, kind):
    async def fails(_request):
        raise ValueError("what nobody is to see")

    answers = Answers(Drawing(Pages("", References()), None, signs_out=False), "")
    app = web.Application(middlewares=[answers.middleware])
    app.router.add_get(path, fails)
    async with TestClient(TestServer(app)) as client, client.get(path) as response:
        assert (response.status, response.content_type) == (500, kind)
        assert "nobody is to see" not in await response.text()
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
