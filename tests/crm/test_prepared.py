"""Prepared answers: a test that uses them fails for each request and each answer that has no counterpart."""

from contextlib import suppress

import pytest
from aiohttp import ClientSession
from aioresponses import aioresponses

from crm_sync.crm.http import Http
from tests.crm.prepared import PreparedAnswers, Sent

ORIGIN = "https://crm.example"


def shell():
    return Http(ORIGIN, {"api-key": "a key"})


async def test_the_bridge_to_aiohttp_is_still_needed():
    """Fails with the release of aioresponses that passes `stream_writer` itself: then delete it from prepared.Response."""
    with aioresponses() as unbridged:
        unbridged.get(ORIGIN)
        async with ClientSession() as session:
            with pytest.raises(TypeError, match="stream_writer"):
                await session.get(ORIGIN)


async def test_an_answer_is_given_as_it_was_prepared():
    with PreparedAnswers(ORIGIN) as prepared:
        prepared.answer(("GET", "/json"), 404, {"id": 7}, **{"X-Request-Id": "4f0c"})
        prepared.answer(("GET", "/bytes"), 200, b"caf\xe9")
        prepared.answer(("GET", "/nothing"), 204)
        async with shell() as http:
            parsed, raw, nothing = [await http.send("GET", path) for path in ("/json", "/bytes", "/nothing")]
    assert (parsed.status, parsed.json, parsed.headers["x-request-id"]) == (404, {"id": 7}, "4f0c")
    assert (raw.status, raw.text) == (200, "caf\ufffd")
    assert (nothing.status, nothing.text) == (204, "")


async def test_what_is_sent_is_kept_to_the_byte():
    with PreparedAnswers(ORIGIN) as prepared:
        prepared.answer(("POST", "/a%2Fb?email=ada%2B1@example.com&a=1"), 200)
        prepared.answer(("GET", "/"), 200)
        async with shell() as http:
            await http.send("POST", "/a%2Fb", b'{ "signed":1}', query={"email": "ada+1@example.com", "a": "1"})
            await http.send("GET", "/")
    [posted, got] = prepared.sent
    assert posted[:2] == ("POST", f"{ORIGIN}/a%2Fb?email=ada%2B1@example.com&a=1")
    assert (posted.content, posted.body, posted.headers["API-Key"]) == (b'{ "signed":1}', {"signed": 1}, "a key")
    assert got == Sent("GET", f"{ORIGIN}/", got.headers, None)
    assert got.body is None


async def test_answers_for_the_same_request_are_given_in_their_order():
    with PreparedAnswers(ORIGIN) as prepared:
        for status in (200, 404):
            prepared.answer(("GET", "/contacts"), status)
        async with shell() as http:
            assert [(await http.send("GET", "/contacts")).status for _ in range(2)] == [200, 404]


async def ask(answers, *requests):
    """Sends these requests, and hides every error, as a client may."""
    with PreparedAnswers(ORIGIN) as prepared:
        for answer in answers:
            prepared.answer(answer)
        async with shell() as http:
            for method, path in requests:
                with suppress(AssertionError):
                    await http.send(method, path)


@pytest.mark.parametrize("path", ["/c", "/d?a=1&b=2", "/c?b=2&a=1", "/c?a=1&b=2&c=3", "/c?a=%2B1&b=2"])
@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_a_request_that_differs_fails_the_test_though_the_client_hides_it(method, path):
    wanted = ("POST", "/c?a=1&b=2")
    with pytest.raises(AssertionError, match=r"^no answer was prepared for ") as caught:
        await ask([wanted], (method, path), wanted)
    assert str([(method, f"{ORIGIN}{path}")]) in str(caught.value)


async def test_a_second_request_needs_a_second_answer():
    with pytest.raises(AssertionError, match=r"^no answer was prepared for "):
        await ask([("GET", "/c")], ("GET", "/c"), ("GET", "/c"))
    await ask([("GET", "/c")] * 2, ("GET", "/c"), ("GET", "/c"))


async def test_a_request_that_comes_before_its_turn_fails_the_test():
    first, second = ("GET", "/a"), ("GET", "/b")
    with pytest.raises(AssertionError, match=r"^no answer was prepared for "):
        await ask([first, second], second, first, second)


async def test_an_answer_that_nothing_asks_for_fails_the_test():
    with pytest.raises(AssertionError, match=rf"^nothing asked for \[\('GET', '{ORIGIN}/b'\)\]"):
        await ask([("GET", "/a"), ("GET", "/b")], ("GET", "/a"))
