"""What a witness of the HTTP layer sees: every request as it goes out and its result, without keys."""

import json

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from crm_sync.crm.exchange import Response
from crm_sync.crm.http import Http
from crm_sync.errors import HeldBackError, LaneError

KEY = "xkeysib-0123456789abcdef"
PERSON = {"email": "zoë@example.com", "n": 1.5}


class Witness:
    def __init__(self):
        self.seen = []

    def asked(self, request):
        self.seen.append(request)

    def answered(self, said):
        self.seen.append(said)


class Wire:
    """Keeps what was sent, and answers."""

    def __init__(self, body=b"{}", error=None):
        self.sent = []
        self._body = body
        self._error = error

    async def __call__(self, request):
        self.sent.append(request)
        if self._error:
            raise self._error
        return Response(200, CIMultiDictProxy(CIMultiDict({"X-Said": KEY})), self._body)


async def ask(wire, *, headers=None, hide=(), **sent):
    """What the witness saw of one request."""
    witness = Witness()
    headers = {"api-key": KEY} if headers is None else headers
    async with Http("https://crm.example.com/v3", headers, witness=witness, wire=wire) as http:
        http.hide(*hide)
        await http.send(sent.pop("method", "POST"), sent.pop("path", "/contacts"), sent.pop("body", None), **sent)
    return witness.seen


async def test_a_witness_sees_the_request_before_its_answer_and_both_without_keys():
    wire = Wire(f'{{"quoted": "{KEY}"}}'.encode())
    request, answer = await ask(wire, body=PERSON, query={"a": "b c", "key": KEY})
    assert (request.method, request.url) == ("POST", "https://crm.example.com/v3/contacts?a=b+c&key=***")
    assert request.body == json.dumps(PERSON)
    assert request.headers["api-key"] == "***"
    assert answer.text == '{"quoted": "***"}'
    assert answer.headers["X-Said"] == "***"
    assert wire.sent[0].headers["api-key"] == KEY, "what is sent is the key itself"


async def test_what_is_shown_of_a_body_is_what_is_sent():
    wire = Wire()
    for body in (PERSON, b'{"signed": "z\xc3\xab"}', [PERSON]):
        request, _ = await ask(wire, body=body)
        assert request.body.encode() == wire.sent[-1].body


@pytest.mark.parametrize("value", ["x", "short", KEY, "two words"])
@pytest.mark.parametrize("name", ["api-key", "X-Anything", "authorization", "Cookie"])
async def test_a_header_is_masked_by_its_name_however_short_its_value(name, value):
    request, _ = await ask(Wire(), headers={name: value})
    assert request.headers[name] == "***"


@pytest.mark.parametrize(("value", "shown"), [("Bearer abc", "Bearer ***"), ("Basic QWxh", "Basic ***"), ("bearer", "***")])
async def test_the_kind_of_a_credential_may_be_seen(value, shown):
    request, _ = await ask(Wire(), headers={"Authorization": value})
    assert request.headers["Authorization"] == shown


async def test_a_login_shows_its_fields_but_not_what_is_in_them():
    request, _ = await ask(Wire(), form={"grant_type": "client_credentials", "client_secret": "s", "x": ""})
    assert request.login
    assert request.body == "grant_type=client_credentials&client_secret=***&x=***"


async def test_a_path_that_is_a_secret_is_masked_also_where_it_is_written_otherwise():
    request, _ = await ask(Wire(), path="/hook/the-secret", hide=["hook/the-secret"])
    assert request.url == "https://crm.example.com/v3/***"


async def test_a_request_without_an_answer_is_told_with_the_reason():
    witness = Witness()
    error = HeldBackError("no")
    async with Http("https://crm.example.com", {}, witness=witness, wire=Wire(error=error)) as http:
        with pytest.raises(LaneError):
            await http.send("GET", "/")
    assert witness.seen[1] is error
