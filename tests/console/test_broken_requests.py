"""Requests that no browser sends, from whoever can connect: nobody waits for them, and the log quotes none of them."""

import asyncio
import logging
from contextlib import closing

import pytest

from crm_sync.console import bodies, server
from tests.console.running import OURS, Visit, port_of

FORM = "Content-Type: application/x-www-form-urlencoded\r\n"
SECRET = "ada@example.com"


@pytest.fixture
def impatient(monkeypatch):
    """For a test that waits until the console no longer does."""
    monkeypatch.setattr(server, "IDLE_S", 0.05)
    monkeypatch.setattr(bodies, "PATIENCE_S", 0.05)


async def answered(visit: Visit, text: str) -> str:
    """The first line of the answer; empty if the console closes the connection without one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(visit))
    with closing(writer):
        writer.write(text.format(host=f"127.0.0.1:{port_of(visit)}").encode())
        try:
            return (await reader.readline()).decode()
        except ConnectionResetError:  # it was closed before it had read the text
            return ""


async def test_nobody_is_waited_for_who_does_not_end_his_headers(impatient, visit):
    assert await answered(visit, "GET / HTTP/1.1\r\nHost: {host}\r\n") == ""


async def test_nobody_is_waited_for_who_sends_nothing(impatient, visit):
    assert await answered(visit, "") == ""


@pytest.mark.parametrize("path", ["/login", "/v1/retries"])
async def test_nobody_is_waited_for_who_does_not_end_his_body(impatient, visit, path):
    headers = f"Authorization: Bearer token-of-the-console-of-the-tests\r\nSec-Fetch-Site: same-origin\r\n{FORM}"
    answer = await answered(visit, f"POST {path} HTTP/1.1\r\nHost: {{host}}\r\n{headers}Content-Length: 300\r\n\r\ntoken=")
    assert answer.startswith("HTTP/1.1 408 ")


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Content-Type": "application/x-www-form-urlencoded; charset=nothing"}, b"token=x"),
        ({"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}, b"token=\xff"),
        ({"Content-Type": "application/x-www-form-urlencoded", "Content-Encoding": "gzip"}, b"no gzip"),
        ({"Content-Type": "multipart/form-data"}, b"x"),
        ({"Content-Type": "multipart/form-data; boundary=x"}, b"--x\r\n\r\n\r\n--x--"),
    ],
)
async def test_what_is_no_form_is_said_and_is_no_fault_of_the_console(visit, caplog, headers, body):
    async with visit.http.post(visit.where + "login", data=body, headers={**OURS, **headers}) as response:
        status, words = response.status, await response.text()
    assert (status, "Not a valid request" in words) == (400, True)
    assert caplog.records == []


async def test_an_origin_that_is_no_address_is_not_ours(visit):
    assert (await visit.post("login", headers={"Origin": "http://[::1"}))[0] == 403


@pytest.mark.parametrize(
    "request_of_nobody",
    [
        "GET /find?q={secret} x HTTP/1.1\r\nHost: {{host}}\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: {{host}}\r\nAuthorization : Bearer {secret}\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: {{host}}\r\nAuthorization: Bearer {secret}{long}\r\n\r\n",
        "GET /find?q={secret}{longer} HTTP/1.1\r\nHost: {{host}}\r\n\r\n",
        "{secret}\r\n\r\n",
    ],
)
async def test_what_is_no_request_is_answered_and_not_logged(visit, caplog, request_of_nobody):
    caplog.set_level(logging.DEBUG)
    asked = request_of_nobody.format(secret=SECRET, long="x" * 9_000, longer="x" * 70_000)
    assert (await answered(visit, asked)).startswith("HTTP/1.0 400 ")
    assert SECRET not in caplog.text


async def test_of_a_fault_the_log_has_the_place_and_not_the_words(signed_in, caplog, monkeypatch):
    async def fails(*_arguments):
        raise ValueError(f"no contact is called {SECRET}")

    monkeypatch.setattr("crm_sync.api.events.Events.alerts", fails)
    assert (await signed_in.get("events"))[0] == 500
    assert "test_broken_requests.py" in caplog.text
    assert "ValueError" in caplog.text
    assert SECRET not in caplog.text


async def test_whoever_hangs_up_within_his_form_is_no_fault_of_the_console(visit, caplog):
    _, writer = await asyncio.open_connection("127.0.0.1", port_of(visit))
    host = f"127.0.0.1:{port_of(visit)}"
    writer.write(
        f"POST /login HTTP/1.1\r\nHost: {host}\r\n{FORM}Sec-Fetch-Site: same-origin\r\nContent-Length: 9\r\n\r\nt".encode()
    )
    await writer.drain()
    writer.close()
    assert (await visit.get("livez"))[0] == 200
    assert caplog.records == []
