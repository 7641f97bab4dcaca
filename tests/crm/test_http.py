"""The HTTP layer alone: nothing else is taken for an answer. Where bytes matter, servers send them exactly."""

import asyncio
import gzip
import json
import shutil
import socket
import ssl
import struct
import subprocess
import time
import tracemalloc
import zlib
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl

import pytest
from aiohttp.client_proto import ResponseHandler
from multidict import CIMultiDict
from yarl import URL

from crm_sync.crm.answer import (
    DEFAULT_PAUSE_S,
    LONGEST_PAUSE_S,
    LONGEST_REQUEST_ID,
    LONGEST_SAID,
    SHORTEST_PAUSE_S,
    retry_after_s,
    usable,
)
from crm_sync.crm.connections import Connections
from crm_sync.crm.content import LARGEST_BODY_BYTES
from crm_sync.crm.exchange import Request
from crm_sync.crm.http import MOST_TOKENS, Http, require_https
from crm_sync.errors import (
    BatchRefusedError,
    ConfigurationError,
    HeldBackError,
    LaneError,
    NotSentError,
    OutageError,
    RefusedError,
    StatusRefusedError,
    ThrottledError,
)
from tests.harness import TIMEOUT_S

KEY = "xkeysib-0123456789abcdef"
PERSON = {"email": "ada@example.com", "attributes": {"FIRSTNAME": "Ada", "LASTNAME": "Lovelace", "SMS": "+33639980001"}}
CONTACTS = ("POST", "/contacts")
MEGABYTE = 1024 * 1024


class RawServer:
    """Answers every request with the same bytes, or with a function that writes them, then closes the connection.

    heard: the requests, head and body. answered: set when the last answer has ended, by whichever side.
    """

    def __init__(self, answer, tls=None):
        self.heard = []
        self.answered = asyncio.Event()
        self._answer = answer
        self._tls = tls
        self._tasks = set()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
        scheme = "http" if self._tls is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader, writer):
        self._tasks.add(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader, writer):
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                head = await reader.readuntil(b"\r\n\r\n")
                lengths = [line.partition(b":")[2] for line in head.split(b"\r\n") if line.startswith(b"Content-Length:")]
                self.heard.append(head + await reader.readexactly(int(lengths[0]) if lengths else 0))
                if callable(self._answer):
                    await self._answer(writer)
                else:
                    writer.write(self._answer)
                    await writer.drain()
        finally:
            self.answered.set()
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


def raw(status, body=b"", *headers):
    """An answer whose body ends with the connection, unless a header says otherwise."""
    return "\r\n".join([f"HTTP/1.1 {status} Said", *headers, "", ""]).encode() + body


def whole(status, body=b"", *headers):
    return raw(status, body, f"Content-Length: {len(body)}", "Connection: close", *headers)


@asynccontextmanager
async def opened(base_url, headers=None, *, timeout_s=10.0):
    """If the layer waits for something that never comes, its test fails without holding up the others."""
    headers = {"api-key": KEY} if headers is None else headers
    async with Http(base_url, headers, timeout_s=timeout_s) as http:
        yield http


def parts(request):
    """The lines of the head, and the body."""
    head, _, body = request.partition(b"\r\n\r\n")
    return head.decode().split("\r\n"), body


def headers(lines, name):
    return [line.partition(": ")[2] for line in lines if line.lower().startswith(f"{name.lower()}: ")]


async def ask(answer, method="POST", **options):
    """The layer's result for a server that answers like this."""
    async with RawServer(answer) as server, opened(server.url, **options) as http:
        return await http.request(method, "/contacts", PERSON)


async def failure(answer, **options):
    with pytest.raises(LaneError) as caught:
        await ask(answer, **options)
    return caught.value


async def told(prepared, status, body=b"", **headers):
    """The layer's result for this answer, however it comes."""
    prepared.answer(CONTACTS, status, body, **headers)
    async with opened(prepared.base_url) as http:
        return await http.request("POST", "/contacts", PERSON)


@pytest.mark.parametrize("marks", ["\ufeff", "\ufeff\ufeff"])
async def test_a_byte_order_mark_before_an_answer_is_no_part_of_it(prepared, marks):
    """PHP sends the byte order mark of each of its source files."""
    answer = await told(prepared, 200, f'{marks}{{"id": 7}}'.encode())
    assert (answer.json, answer.text) == ({"id": 7}, '{"id": 7}')


async def trouble(prepared, status, body=b"", **headers):
    with pytest.raises(LaneError) as caught:
        await told(prepared, status, body, **headers)
    return caught.value


# What is sent.


async def test_a_request_carries_the_key_the_body_and_our_name():
    async with RawServer(whole(200, b"{}")) as server, opened(f"{server.url}/v3/") as http:
        await http.request("PUT", "/contacts/7", PERSON, identifierType="contact_id")
    lines, body = parts(server.heard[0])
    assert lines[0] == "PUT /v3/contacts/7?identifierType=contact_id HTTP/1.1"
    assert {f"api-key: {KEY}", "Accept: application/json", "Content-Type: application/json"} <= set(lines)
    assert any(line.startswith("User-Agent: crm-sync/") for line in lines)
    assert json.loads(body) == PERSON


async def test_bytes_are_sent_as_they_are_and_called_json_unless_a_header_says_otherwise():
    signed = b'{ "email":"ada@example.com" }'  # spaces that writing it again would lose, and a signature with them
    async with RawServer(whole(200, b"{}")) as server, opened(server.url) as http:
        await http.send("POST", "/webhook/crm", signed)
        await http.send("POST", "/webhook/crm", b"<a/>", headers={"Content-Type": "text/xml"})
    for request, body, content_type in zip(server.heard, [signed, b"<a/>"], ["application/json", "text/xml"], strict=True):
        lines, sent = parts(request)
        assert (sent, headers(lines, "Content-Type")) == (body, [content_type])


async def test_a_form_is_sent_as_browsers_do():
    form = {"grant_type": "client_credentials", "client_secret": "a b&c=d/é"}
    async with RawServer(whole(200, b"{}")) as server, opened(server.url) as http:
        await http.send("POST", "/oauth/v2/token", form=form)
    lines, body = parts(server.heard[0])
    assert headers(lines, "Content-Type") == ["application/x-www-form-urlencoded"]
    assert dict(parse_qsl(body.decode(), strict_parsing=True)) == form


async def test_headers_of_one_request_are_beside_those_of_all_and_leave_no_trace():
    async with RawServer(whole(200, b"{}")) as server, opened(server.url) as http:
        await http.send("POST", "/contacts", PERSON, headers={"Authorization": "Bearer once"})
        await http.send("POST", "/contacts", PERSON)
    first, second = (parts(request)[0] for request in server.heard)
    assert (headers(first, "Authorization"), headers(first, "api-key")) == (["Bearer once"], [KEY])
    assert (headers(second, "Authorization"), headers(second, "api-key")) == ([], [KEY])


async def test_a_header_of_one_request_takes_the_place_of_the_common_one():
    async with RawServer(whole(200, b"{}")) as server, opened(server.url) as http:
        await http.send("GET", "/contacts", headers={"Accept": "text/plain"})
    assert headers(parts(server.heard[0])[0], "Accept") == ["text/plain"]


async def test_a_query_says_what_it_was_given():
    async with RawServer(whole(200, b"{}")) as server, opened(server.url) as http:
        await http.send("GET", "/contacts", query={"search": "a b&c=é+1", "limit": "1"})
    target = parts(server.heard[0])[0][0].split()[1]
    assert dict(parse_qsl(target.partition("?")[2], strict_parsing=True)) == {"search": "a b&c=é+1", "limit": "1"}


async def test_no_request_is_sent_before_its_slot_and_none_without_one():
    class Full:
        async def slot(self):
            raise HeldBackError("the account's limit is used up for now", 7.0)

    async with RawServer(whole(200)) as server, Http(server.url, {}, limiter=Full()) as http:
        with pytest.raises(HeldBackError):
            await http.send("POST", "/contacts", PERSON)
    assert server.heard == []


async def test_a_shell_that_is_not_open_is_a_mistake_of_ours():
    http = Http("https://crm.example", {})
    with pytest.raises(RuntimeError, match="not open"):
        await http.send("GET", "/contacts")


async def test_no_cookie_is_kept():
    async with RawServer(whole(200, b"{}", "Set-Cookie: session=1; Path=/")) as server, opened(server.url) as http:
        await http.request("POST", "/contacts", PERSON)
        await http.request("POST", "/contacts", PERSON)
    assert len(server.heard) == 2
    assert all(b"cookie" not in request.lower() for request in server.heard)


# What an answer is.


@pytest.mark.parametrize("status", [200, 201, 202, 207, 400, 404, 409, 422, 425])
async def test_whatever_speaks_of_the_contact_comes_back_with_its_status(prepared, status):
    answer = await told(prepared, status, b'{"id": 7}')
    assert (answer.status, answer.get("id")) == (status, 7)


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        (300, StatusRefusedError, "REDIRECTED"),
        (401, RefusedError, "REFUSED"),
        (402, RefusedError, "REFUSED"),
        (403, RefusedError, "REFUSED"),
        (408, OutageError, "CRM_ERROR"),
        (429, ThrottledError, "RATE_LIMITED"),
        (500, OutageError, "CRM_ERROR"),
        (503, OutageError, "CRM_ERROR"),
        (524, OutageError, "CRM_ERROR"),
        (999, OutageError, "CRM_ERROR"),
    ],
)
async def test_a_status_that_speaks_of_everybody_is_an_error_of_the_lane(prepared, status, error, code):
    raised = await trouble(prepared, status, b'{"message": "said so"}')
    assert (type(raised), raised.code) == (error, code)
    assert raised.reason.endswith(f"({status}: said so)") or code == "REDIRECTED"


@pytest.mark.parametrize("status", [101, "099", "000"])
async def test_a_status_below_200_is_no_answer_of_a_crm(status):
    error = await failure(whole(status, b"{}"))
    assert (type(error), error.code) == (OutageError, "BROKEN_ANSWER")
    assert f"what answered {int(status)} is not the CRM: check its base URL" in error.reason


@pytest.mark.parametrize("status", [200, 302, 401, 402, 403, 408, 429, 500, 503, 999])
async def test_send_judges_nothing(prepared, status):
    prepared.answer(CONTACTS, status, b'{"message": "said so"}')
    async with opened(prepared.base_url) as http:
        answer = await http.send("POST", "/contacts", PERSON)
    assert (answer.status, answer.said("message")) == (status, "said so")


async def test_usable_says_of_an_answer_what_request_would(prepared):
    prepared.answer(CONTACTS, 401, b'{"message": "Ada is not you"}')
    prepared.answer(CONTACTS, 401, b'{"message": "Ada is not you"}')
    async with opened(prepared.base_url) as http:
        answer = await http.send("POST", "/contacts", PERSON)
        with pytest.raises(RefusedError) as asked:
            await http.request("POST", "/contacts", PERSON)
    with pytest.raises(RefusedError) as judged:
        usable(answer, PERSON)
    assert str(judged.value) == str(asked.value) == "REFUSED: the CRM refuses everybody (401: *** is not you)"


@pytest.mark.parametrize("name", ["X-HubSpot-Correlation-Id", "X-Request-Id", "X-Correlation-Id", "CF-Ray"])
async def test_an_answer_is_labelled_with_the_id_its_support_finds_it_by(prepared, name):
    assert (await told(prepared, 400, b"{}", **{name: "4f0c-77"})).label == "400, request 4f0c-77"


async def test_a_header_that_names_the_request_counts_before_the_body(prepared):
    body = b'{"correlationId": "of-the-body"}'
    assert (await told(prepared, 400, body)).label == "400, request of-the-body"
    assert (await told(prepared, 400, body, **{"CF-Ray": "of-the-header"})).label == "400, request of-the-header"


@pytest.mark.parametrize("body", [b"", b"[]", b'{"correlationId": null}', b'{"correlationId": 7}', b'{"correlationId": ""}'])
async def test_an_answer_without_an_id_is_labelled_with_its_status(prepared, body):
    assert (await told(prepared, 400, body, **{"X-Request-Id": ""})).label == "400"


async def test_a_label_is_one_short_line_whatever_the_id_is():
    body = json.dumps({"correlationId": "a\u001b[2J\nb" + "c" * MEGABYTE}).encode()
    label = (await ask(whole(400, body))).label
    assert label.startswith("400, request a [2J bccc")
    assert len(label) == len("400, request ") + LONGEST_REQUEST_ID


async def test_an_error_names_the_request(prepared):
    error = await trouble(prepared, 503, b'{"message": "down"}', **{"X-Request-Id": "4f0c"})
    assert error.reason == "the CRM failed (503, request 4f0c: down)"


async def test_a_throttled_answer_says_how_long(prepared):
    error = await trouble(prepared, 429, b"", **{"x-sib-ratelimit-reset": "25"})
    assert (type(error), error.pause_s) == (ThrottledError, 25.0)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_refused_and_neither_key_nor_body_reach_the_other_origin(status, method):
    async with RawServer(whole(200, b'{"id": 7}')) as other:
        elsewhere = whole(status, b"", f"Location: {other.url}/contacts")
        async with RawServer(elsewhere) as server, opened(server.url) as http:
            with pytest.raises(RefusedError, match=r"REDIRECTED: .* base URL"):
                await http.request(method, "/contacts", PERSON)
        assert len(server.heard) == 1
    assert other.heard == []


@pytest.mark.parametrize(
    ("location", "where"),
    [
        ("https://www.example.com/api/v3/contacts?token=ab#c", "302 to www.example.com/api/v3/contacts"),
        ("http://user:pass@example.com:8080/x", "302 to example.com:8080/x"),
        ("/login?next=%2Fcontacts", "302 to /login"),
        ("/blocked/Ada/now", "302 to /blocked/***/now"),
        ("/blocked?for=ada%40example.com", "302 to /blocked"),
        ("/blocked/ada%40example.com", "302 to ***"),
        ("http://[half", "302 to something that is not a URL"),
        ("?only=query", "302"),
        (None, "302"),
    ],
)
async def test_a_redirect_names_where_to_without_query_keys_and_people(prepared, location, where):
    prepared.answer(CONTACTS, 302, None, **({} if location is None else {"Location": location}))
    async with opened(prepared.base_url) as http:
        with pytest.raises(StatusRefusedError) as caught:
            await http.request("POST", "/contacts", {"first_name": "Ada"})
    assert caught.value.reason == f"the CRM answered with a redirect ({where}), which is not followed: check its base URL"


@pytest.mark.parametrize("status", [401, 402, 403])
async def test_a_page_with_a_status_of_everybody_may_be_one_contacts(prepared, status):
    page = b"<html><head><style>b {x}</style><title>Blocked</title></head><!-- Ada --><body>Not <b>acceptable</b>: Ada</html>"
    error = await trouble(prepared, status, page)
    assert (type(error), error.code) == (StatusRefusedError, "REFUSED")
    assert " ".join(error.said.split()) == f"{status}: Blocked Not acceptable : ***"


async def test_a_407_is_the_proxys_and_everybodys(prepared):
    error = await trouble(prepared, 407, b"<html>Proxy authentication required</html>")
    assert type(error) is RefusedError
    assert "a proxy in front of the CRM's API requires credentials" in error.reason


async def test_a_success_counts_for_requests_of_its_kind_only(prepared):
    requests = [("POST", "/contacts"), ("GET", "/contacts"), ("PUT", "/contacts/7"), ("PUT", "/contacts/8"), ("PUT", "/lists/8")]
    async with opened(prepared.base_url) as http:
        answers = []
        for request in requests:
            prepared.answer(request, 200, b"{}")
            answers.append(await http.send(*request))
    answers[2].confirm()
    assert [answer.operation.served_at > 0 for answer in answers] == [False, False, True, True, False]
    assert answers[2].operation.began == answers[2].began > answers[1].began


async def test_a_304_is_refused_whatever_length_it_speaks_of():
    assert type(await failure(raw(304, b"", "Content-Length: 50"))) is StatusRefusedError


async def test_a_204_is_an_answer_whatever_length_it_speaks_of():
    answer = await ask(raw(204, b"", "Content-Length: 50", "Connection: close"))
    assert (answer.status, answer.text, answer.json) == (204, "", None)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"<!DOCTYPE html><html><body>Maintenance</body></html>", id="html"),
        pytest.param(b'{"id": NaN}', id="nan"),
        pytest.param(b'{"id": 7, "score": -Infinity}', id="infinity"),
        pytest.param(b'{"id": 7, "name": "\xff\xfe"}', id="bad utf-8"),
        pytest.param('{"id": 7}'.encode("utf-16"), id="utf-16"),
        pytest.param(b"[" * 100_000 + b"]" * 100_000, id="deep lists"),
        pytest.param(b'{"id":' * 100_000 + b"7" + b"}" * 100_000, id="deep objects"),
        pytest.param(b'{"id": ' + b"7" * 100_000 + b"}", id="a number of 100,000 digits"),
        pytest.param(b'{"id": 7', id="half"),
        pytest.param(b'{"id": 7}{"id": 8}', id="two"),
    ],
)
async def test_a_body_that_is_no_json_is_no_data(body):
    answer = await ask(whole(200, body))
    assert (answer.status, answer.json, answer.get("id")) == (200, None, None)


async def test_a_list_has_no_members(prepared):
    answer = await told(prepared, 200, b'[{"id": 7}]')
    assert answer.json == [{"id": 7}]
    assert answer.get("id") is None


async def test_a_body_in_bad_utf_8_can_still_be_shown(prepared):
    answer = await told(prepared, 400, b"caf\xe9 is closed")
    assert answer.text == "caf\ufffd is closed"


async def test_what_a_crm_says_is_cut_and_taken_from_the_body_where_it_says_nothing_plain():
    loud = await ask(whole(400, json.dumps({"code": 7, "message": "x" * MEGABYTE}).encode()))
    assert loud.said("code", "message").startswith("7 xxx")
    assert len(loud.said("code", "message")) < 2 * LONGEST_SAID
    nested = b'{"message":' + b"[" * 900 + b"]" * 900 + b"}"
    assert (await ask(whole(400, nested))).said("message") == nested.decode()[:LONGEST_SAID]
    assert (await ask(whole(400))).said("message") == "no text"


async def test_an_error_of_50_000_characters_is_put_in_words_at_once(prepared):
    started = asyncio.get_running_loop().time()
    error = await trouble(prepared, 500, json.dumps({"message": "x" * 50_000}).encode())
    assert asyncio.get_running_loop().time() - started < 2
    assert type(error) is OutageError
    assert len(str(error)) < 2000


# Answers that break off.


async def reset(writer):
    """Closes the connection with RST."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def reset_midway(writer):
    writer.write(raw(200, b'{"id": 7', "Content-Length: 9"))
    await writer.drain()
    await reset(writer)


GZIPPED = gzip.compress(b'{"id": 7}', mtime=0)
ZIPPED = zlib.compress(b'{"id": 7}')


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="closed without a word"),
        pytest.param(reset, id="reset without a word"),
        pytest.param(reset_midway, id="reset midway"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-", id="half a head"),
        pytest.param(raw(200, b'{"id": 7}', "Content-Length: 10"), id="shorter than its length"),
        pytest.param(raw(200, b'9\r\n{"id": 7', "Transfer-Encoding: chunked"), id="within a chunk"),
        pytest.param(raw(200, b'9\r\n{"id": 7}\r\n', "Transfer-Encoding: chunked"), id="before the last chunk"),
        pytest.param(raw(200, b'zz\r\n{"id": 7}', "Transfer-Encoding: chunked"), id="no chunk"),
        pytest.param(whole(200, b'{"id": 7}', "Content-Encoding: gzip"), id="not gzipped"),
        pytest.param(whole(200, b'{"id": 7}', "Content-Encoding: br"), id="a coding we do not know"),
        pytest.param(whole(200, GZIPPED[:-10], "Content-Encoding: gzip"), id="half gzipped"),
        pytest.param(whole(200, GZIPPED, "Content-Encoding: br, gzip"), id="two codings, one of which we do not know"),
        pytest.param(whole(200, b"{}", f"X-Long: {'x' * 20_000}"), id="a header of 20,000 characters"),
        pytest.param(whole(200, b"{}", *(f"X-{n}: x" for n in range(1000))), id="1,000 headers"),
        pytest.param(raw(200, b"{}", "Content-Length: -2"), id="a negative length"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n\r\n", id="no HTTP"),
    ],
)
async def test_an_answer_that_breaks_is_an_outage(answer):
    error = await failure(answer)
    assert (type(error), error.code) == (OutageError, "BROKEN_ANSWER")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(raw(201, b'{"id": 7'), id="plain"),
        pytest.param(raw(201), id="at once"),
    ],
)
async def test_a_body_cut_off_by_the_end_of_the_connection_is_no_data(answer):
    assert (await ask(answer)).json is None


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", GZIPPED),
        ("GZIP", GZIPPED),
        ("x-gzip", GZIPPED + bytes(8)),
        ("gzip", gzip.compress(b'{"id"') + gzip.compress(b": 7}")),
        ("gzip", gzip.compress(b'{"id": 7}') + gzip.compress(b"") * 99),
        ("deflate", ZIPPED),
        ("deflate", ZIPPED[2:-4]),
        ("identity", b'{"id": 7}'),
        ("gzip, gzip", gzip.compress(GZIPPED)),
        ("", b'{"id": 7}'),
    ],
    ids=["gzip", "capitals", "padded", "two members", "100 members", "zlib", "bare deflate", "identity", "twice", "no coding"],
)
async def test_a_coded_answer_is_decoded(coding, body):
    assert (await ask(whole(200, body, f"Content-Encoding: {coding}"))).get("id") == 7


async def test_an_answer_without_a_body_may_speak_of_a_coding():
    answer = await ask(raw(204, b"", "Content-Encoding: gzip", "Connection: close"))
    assert (answer.status, answer.flaw) == (204, None)


@pytest.mark.parametrize("status", [401, 429, 503])
async def test_a_status_that_speaks_of_everybody_counts_whatever_the_body_is(status):
    error = await failure(whole(status, b"?", "Content-Encoding: gzip"))
    assert str(status) in error.reason
    assert error.code in ("REFUSED", "RATE_LIMITED", "CRM_ERROR")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(whole(201, b"plain", "Content-Encoding: gzip"), "is not valid gzip", id="not gzipped"),
        pytest.param(whole(201, b"?", "Content-Encoding: br"), "has an encoding that was not asked for", id="another coding"),
        pytest.param(raw(201, b"{", "Content-Length: 9"), "was interrupted", id="broken off"),
        pytest.param(
            whole(201, gzip.compress(b"") * 10_000, "Content-Encoding: gzip"), "is gzip of more than 100 parts", id="many parts"
        ),
        pytest.param(
            whole(201, b"?", f"Content-Encoding: {', '.join(['gzip'] * 300)}"), "has more than 3 encodings", id="many encodings"
        ),
    ],
)
async def test_of_an_answer_with_a_flaw_its_status_and_headers_are_told(answer, reason):
    async with RawServer(answer) as server, opened(server.url) as http:
        told = await http.send("POST", "/contacts", PERSON)
    assert (told.status, told.json) == (201, None)
    assert f"the answer (201) {reason}" in told.flaw.reason


# Answers that are too much.


@asynccontextmanager
async def peak_below(limit):
    """Python's memory, including that of the server, which is in the same process."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < limit, f"{peak / MEGABYTE:.1f} MB"


async def test_a_body_as_large_as_may_be_is_read_and_with_a_byte_more_fewer_contacts_are_sent():
    answer = await ask(whole(200, b"x" * LARGEST_BODY_BYTES))
    assert len(answer.text) == LARGEST_BODY_BYTES
    error = await failure(whole(200, b"x" * (LARGEST_BODY_BYTES + 1)))
    assert (type(error), error.retried) == (BatchRefusedError, True)
    assert str(error) == "BROKEN_ANSWER: the answer (200) is over 4 MiB"


async def test_of_a_body_of_50_mb_no_more_is_read_than_the_cap_and_a_little(monkeypatch):
    received = 0
    data_received = ResponseHandler.data_received

    def counted(self, data):
        nonlocal received
        received += len(data)
        data_received(self, data)

    async def pour(writer):
        writer.write(raw(200, b"", f"Content-Length: {50 * MEGABYTE}"))
        for _ in range(50 * 16):
            writer.write(b"x" * (MEGABYTE // 16))
            await writer.drain()

    monkeypatch.setattr(ResponseHandler, "data_received", counted)
    async with RawServer(pour) as server, opened(server.url) as http, asyncio.timeout(10):
        async with peak_below(16 * MEGABYTE):
            with pytest.raises(BatchRefusedError, match="over 4 MiB"):
                await http.request("POST", "/contacts", PERSON)
        await server.answered.wait()  # the connection was closed: the other 46 MB are not held
    # asyncio's own loop reads one chunk ahead, uvloop about 4 MB in one burst.
    assert LARGEST_BODY_BYTES < received < LARGEST_BODY_BYTES + 5 * MEGABYTE


def bomb_of_one_member(megabytes):
    """Zeros. Fully flushed blocks are independent, so one can be repeated."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = deflater.compress(bytes(MEGABYTE)) + deflater.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff" + block * megabytes


def bomb_of_many_members(megabytes):
    return gzip.compress(bytes(MEGABYTE)) * megabytes


@pytest.mark.parametrize("bomb", [bomb_of_one_member, bomb_of_many_members])
async def test_a_gzip_bomb_of_one_gigabyte_is_too_large_and_costs_little_memory(bomb):
    body = bomb(1024)
    assert len(body) < 1.2 * MEGABYTE
    async with peak_below(32 * MEGABYTE):
        error = await failure(whole(200, body, "Content-Encoding: gzip"))
    assert (type(error), error.code) == (BatchRefusedError, "BROKEN_ANSWER")


async def test_an_answer_that_drips_ends_by_the_total_timeout():
    drops = 0

    async def drip(writer):
        nonlocal drops
        writer.write(raw(200, b"", "Content-Length: 1000000"))
        while True:
            writer.write(b"x")
            await writer.drain()
            drops += 1
            await asyncio.sleep(0.005)

    async with RawServer(drip) as server, opened(server.url, timeout_s=0.2) as http, asyncio.timeout(TIMEOUT_S):
        with pytest.raises(OutageError, match=r"TIMEOUT: no whole answer within 0\.2 s"):
            await http.request("POST", "/contacts", PERSON)
        await server.answered.wait()
    assert drops > 1


async def test_a_server_that_says_nothing_is_an_outage():
    async def silence(_):
        await asyncio.Event().wait()

    error = await failure(silence, timeout_s=0.05)
    assert (type(error), str(error)) == (OutageError, "TIMEOUT: no answer within 0.05 s")


# What never reached the CRM.


async def test_a_refused_connection_was_not_sent():
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and not listening
        async with opened(f"http://127.0.0.1:{nobody.getsockname()[1]}") as http:
            with pytest.raises(NotSentError, match=r"UNREACHABLE: no connection: \w"):
                await http.request("POST", "/contacts", PERSON)


async def test_a_name_that_is_not_found_was_not_sent(monkeypatch):
    def not_found(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", not_found)
    async with opened("https://crm.example") as http:
        with pytest.raises(NotSentError, match="UNREACHABLE: no connection: Name or service not known"):
            await http.request("POST", "/contacts", PERSON)


async def test_an_address_that_is_none_was_not_sent_and_is_not_quoted():
    async with opened("http://[crm") as http:
        with pytest.raises(NotSentError, match="UNREACHABLE") as caught:
            await http.request("GET", "/contacts/ada%40example.com")
    assert "ada" not in str(caught.value)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """Self-signed, but otherwise correct."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("certificate")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=localhost"
    files = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", folder / "key.pem", "-out", folder / "certificate.pem"]
    subprocess.run([*command.split(), *files], check=True, capture_output=True, timeout=30)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    return context


async def test_a_self_signed_certificate_was_not_sent_anything(certificate):
    async with RawServer(whole(200, b"{}"), certificate) as server, opened(server.url) as http:
        with pytest.raises(NotSentError, match=r"UNREACHABLE: .*certificate"):
            await http.request("POST", "/contacts", PERSON)
    assert server.heard == []


async def test_a_server_that_speaks_no_tls_was_not_sent_anything():
    heard = []

    async def refuse(reader, writer):
        heard.append(await reader.read(1000))
        writer.write(whole(400, b"You're speaking plain HTTP to an HTTPS server port, or so."))
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server, opened(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}") as http:
        with pytest.raises(NotSentError, match="UNREACHABLE"):
            await http.request("POST", "/contacts", PERSON)
    assert len(heard) == 1
    assert KEY.encode() not in heard[0]


async def test_a_connection_that_does_not_come_about_was_not_sent():
    connections = Connections(10.0, connect_timeout_s=0.1)
    await connections.open()
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()  # and never a word of TLS
        async with asyncio.timeout(TIMEOUT_S):
            with pytest.raises(NotSentError, match=r"UNREACHABLE: no connection within 0\.1 s"):
                await connections.send(Request("POST", URL(f"https://127.0.0.1:{mute.getsockname()[1]}"), {}))
    await connections.close()


# What errors say.


@pytest.mark.parametrize("status", [401, 403, 408, 429, 500, 503])
async def test_an_error_quotes_neither_the_key_nor_the_person(prepared, status):
    """Not even from a debug page or a helpful proxy that quotes everything."""
    said = f"api-key: {KEY}; for Ada LOVELACE, +33639980001, ada@example.com"
    error = await trouble(prepared, status, {"message": said})
    assert "api-key: ***; for *** ***, ***, ***" in error.reason
    for text in (KEY, "Ada", "LOVELACE", "33639980001", "ada@"):
        assert text not in f"{error} {error!r}"


@pytest.mark.parametrize(
    "answer",
    [b"", b"no HTTP\r\n\r\n", reset_midway, whole(200, b"{}", "Content-Encoding: br"), raw(200, b"{}", "Content-Length: 9")],
)
async def test_the_key_is_in_no_error_and_in_none_that_caused_it(answer):
    error = await failure(answer)
    assert KEY not in repr(error)
    cause = error
    while cause is not None:
        assert KEY not in str(cause)
        cause = cause.__cause__


@pytest.mark.parametrize(
    ("header", "key", "quoted"),
    [
        ("api-key", KEY, KEY),
        ("Authorization", f"Bearer {KEY}", KEY),
        ("Authorization", "Basic dXNlcjpw/XNz", "dXNlcjpw/XNz"),
        ("Authorization", "Basic dXNlcjpw/XNz", r"dXNlcjpw\/XNz"),
    ],
)
async def test_an_answer_that_quotes_the_key_does_not_hand_it_on(prepared, header, key, quoted):
    body = f'{{"message": "who is {quoted}?", "id": 7}}'.encode()
    prepared.answer(CONTACTS, 400, body)
    async with opened(prepared.base_url, {header: key}) as http:
        answer = await http.request("POST", "/contacts", PERSON)
    assert answer.json == {"message": "who is ***?", "id": 7}
    assert answer.text == '{"message": "who is ***?", "id": 7}'


async def test_a_key_that_came_later_is_masked_from_then_on(prepared):
    token, secret = "token/of-an-hour", "short"
    body = json.dumps({"message": f"{token} {token} and {secret}"}).encode()
    prepared.answer(CONTACTS, 400, body)
    prepared.answer(CONTACTS, 400, body)
    async with opened(prepared.base_url) as http:
        before = await http.send("POST", "/contacts", PERSON)
        http.hide(token, secret)
        after = await http.send("POST", "/contacts", PERSON)
    assert before.get("message") == f"{token} {token} and short"
    assert after.get("message") == "*** *** and short"  # a value as short as a word would mask words


async def test_a_key_that_came_later_is_masked_as_php_writes_it_too(prepared):
    prepared.answer(CONTACTS, 400, rb'{"message": "token\/of-an-hour"}')
    async with opened(prepared.base_url) as http:
        http.hide_token("token/of-an-hour")
        assert (await http.send("POST", "/contacts", PERSON)).text == '{"message": "***"}'


async def test_of_tokens_that_pass_only_the_latest_are_remembered(prepared):
    old, latest = (f"token-number-{number:03}" for number in (1, 1 + MOST_TOKENS))
    body = json.dumps({"message": f"{old} {latest}"}).encode()
    prepared.answer(CONTACTS, 400, body)
    async with opened(prepared.base_url) as http:
        for number in range(1, 2 + MOST_TOKENS):
            http.hide_token(f"token-number-{number:03}")
        assert (await http.send("POST", "/contacts", PERSON)).get("message") == f"{old} ***"


# How long to wait after a 429.


@pytest.mark.parametrize(
    ("value", "pause_s"),
    [
        ("7", 7.0),
        (" 7.5 ", 7.5),
        ("0", SHORTEST_PAUSE_S),
        ("-5", SHORTEST_PAUSE_S),
        ("-inf", SHORTEST_PAUSE_S),
        ("1e9", LONGEST_PAUSE_S),
        ("inf", LONGEST_PAUSE_S),
        ("9" * 10_000, LONGEST_PAUSE_S),
        ("Sun, 06 Nov 1994 08:49:37 GMT", SHORTEST_PAUSE_S),
        ("Sunday, 06-Nov-94 08:49:37 GMT", SHORTEST_PAUSE_S),
        ("Sun Nov  6 08:49:37 1994", SHORTEST_PAUSE_S),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_PAUSE_S),
        ("Fri, 31 Dec 99999 23:59:59 GMT", DEFAULT_PAUSE_S),
        ("Fri, 31 Dec 9999 23:59:59 -9999", DEFAULT_PAUSE_S),
        ("", DEFAULT_PAUSE_S),
        ("NaN", DEFAULT_PAUSE_S),
        ("soon", DEFAULT_PAUSE_S),
        ("7, 8", DEFAULT_PAUSE_S),
        ("\udcff\udcfe", DEFAULT_PAUSE_S),
    ],
)
def test_retry_after_in_all_its_forms(value, pause_s):
    assert retry_after_s(CIMultiDict({"Retry-After": value}), "Retry-After") == pause_s


@pytest.mark.parametrize("form", ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y"])
def test_a_date_to_come_is_waited_for_wherever_the_worker_is(form, monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        date = (datetime.now(UTC) + timedelta(seconds=120)).strftime(form)
        assert 115 < retry_after_s(CIMultiDict({"retry-after": date}), "Retry-After") <= 120
    finally:
        monkeypatch.undo()
        time.tzset()


def test_without_a_header_the_pause_is_the_default():
    assert retry_after_s(CIMultiDict(), "Retry-After", "x-sib-ratelimit-reset") == DEFAULT_PAUSE_S


@pytest.mark.parametrize("first", ["", "NaN", "soon"])
def test_the_first_header_that_says_it_counts(first):
    headers = CIMultiDict({"Retry-After": first, "x-sib-ratelimit-reset": "40"})
    assert retry_after_s(headers, "Retry-After", "x-sib-ratelimit-reset") == 40
    headers["Retry-After"] = "50"
    assert retry_after_s(headers, "Retry-After", "x-sib-ratelimit-reset") == 50


# Where keys may go.


@pytest.mark.parametrize(
    "url",
    [
        "https://api.brevo.com/v3",
        "HTTPS://crm.example:8443",
        "http://127.0.0.1:8080/v3",
        "http://localhost",
        "http://LOCALHOST:1",
        "http://[::1]:8080",
    ],
)
def test_https_and_loopback_are_accepted_as_they_are(url):
    assert require_https("BREVO_BASE_URL", url) == url


@pytest.mark.parametrize("url", ["http://mautic", "http://MAUTIC:8080/api", "http://10.0.0.7/"])
def test_plain_http_is_accepted_for_hosts_that_are_allowed_by_name(url):
    assert require_https("MAUTIC_BASE_URL", url, allowed={"mautic", "10.0.0.7"}) == url


@pytest.mark.parametrize("url", ["http://mautic.example", "http://xmautic", "http://10.0.0.70", "http://mautic@example.com"])
def test_who_allows_a_host_allows_no_other(url):
    with pytest.raises(ConfigurationError, match="MAUTIC_BASE_URL"):
        require_https("MAUTIC_BASE_URL", url, allowed={"mautic", "10.0.0.7"})


@pytest.mark.parametrize(
    "url",
    [
        "https://ada:lovelace@crm.example",
        "https://ada@crm.example",
        "https://:lovelace@crm.example",
        "http://127.0.0.1@example.com",
        "http://127.0.0.1:80@example.com",
        "http://ada:lovelace@localhost",
    ],
)
def test_a_url_with_a_user_or_a_password_is_refused_and_not_quoted(url):
    with pytest.raises(ConfigurationError, match=r"^BREVO_BASE_URL: expected a URL without a user and password") as caught:
        require_https("BREVO_BASE_URL", url)
    assert not [word for word in ("ada", "lovelace", "127.0.0.1") if word in str(caught.value)]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.brevo.com",
        "https://",
        "https:///v3",
        "ftp://api.brevo.com",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "http://api.brevo.com/v3",
        "http://127.0.0.1.example.com",
        "http://localhost.example.com",
        "http://example.com#127.0.0.1",
        "http://10.0.0.1",
        "http://0.0.0.0",
        "https://[crm.example",
        "https://crm.example:port",
        "https://crm.example:99999",
        "https://crm example.com",
        "https://crm.example\\v3",
        "https://crm.example%2Fv3",
        "https://*.crm.example",
        "https://-",
        "https://.",
    ],
)
def test_other_addresses_are_refused_by_the_name_of_their_setting(url):
    with pytest.raises(ConfigurationError, match=r"^BREVO_BASE_URL: expected .*https") as caught:
        require_https("BREVO_BASE_URL", url)
    assert "127.0.0.1" not in str(caught.value)  # the value is not quoted


@pytest.mark.parametrize("url", ["https://crm.example?a=1", "https://crm.example/v3?", "https://crm.example/#/login"])
def test_a_base_url_has_nothing_that_a_path_cannot_follow(url):
    with pytest.raises(ConfigurationError, match=r"^BREVO_BASE_URL: expected a URL without \? and #"):
        require_https("BREVO_BASE_URL", url)


@pytest.mark.parametrize(
    "host", ["crm", "crm.example.", "b\u00fccher.example", "my_crm.example", "192.0.2.1", "[2001:db8::1]", "[::1]"]
)
def test_a_host_may_be_any_name_or_address(host):
    assert require_https("BREVO_BASE_URL", f"https://{host}:8443/v3")
