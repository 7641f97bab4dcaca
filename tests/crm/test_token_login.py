"""A login that fetches a token: once for all that need it, again once it is refused, and seen by nobody."""

import asyncio
import json
import math
from types import SimpleNamespace

import pytest

from crm_sync.core.codes import Code
from crm_sync.crm import token_login
from crm_sync.crm.exchange import Request, shown
from crm_sync.crm.http import Http
from crm_sync.crm.token_login import TokenLogin
from crm_sync.errors import OutageError, RefusedError, StatusRefusedError, ThrottledError
from crm_sync.testing import Answer, Fault, Hold, RoutedSandbox, TokenDesk, route

CLIENT, SECRET = "a-client", "a-secret/0123456789"
KEYS = "check X_CLIENT_ID and X_CLIENT_SECRET"
FORM = {"grant_type": "client_credentials", "client_id": CLIENT, "client_secret": SECRET}
TOKEN, PEOPLE = ("POST", "/token"), ("GET", "/people")


class Vendor(RoutedSandbox):
    def __init__(self, credentials=FORM):
        super().__init__()
        self.desk = TokenDesk(credentials)

    def admits(self, call):
        return None if call.path == "/token" or self.desk.admits(call) else self.error(401, "no good token")

    @route("POST", "/token")
    def token(self, call):
        return self.desk.login(call)

    @route("GET", "/people")
    def people(self, call):
        return Answer(200, {"people": []})


@pytest.fixture
async def vendor():
    async with Vendor() as sandbox:
        yield sandbox


@pytest.fixture
async def http(vendor):
    async with Http(vendor.url, {}) as opened:
        yield opened


@pytest.fixture
def login(http):
    return TokenLogin.client_credentials(http, "/token", CLIENT, SECRET, keys=KEYS)


def asked(vendor):
    return [(request.method, request.path) for request in vendor.requests]


def is_login(call):
    return call.path == "/token"


def granted(vendor, body):
    vendor.next_faults.append(Fault(matches=is_login, answer=Answer(200, body)))


async def test_one_login_serves_all_requests(vendor, login):
    answers = await asyncio.gather(*(login.request(*PEOPLE) for _ in range(20)))
    await login.request(*PEOPLE)
    assert {answer.status for answer in answers} == {200}
    assert asked(vendor).count(TOKEN) == 1


async def test_a_token_that_is_refused_is_renewed_once_for_all_that_have_it(vendor, login):
    await login.request(*PEOPLE)
    vendor.desk.revoke()
    answers = await asyncio.gather(*(login.request(*PEOPLE) for _ in range(20)))
    assert {answer.status for answer in answers} == {200}
    assert asked(vendor).count(TOKEN) == 2


async def test_one_whose_refusal_comes_late_takes_the_token_that_others_have_fetched(vendor, login):
    await login.request(*PEOPLE)
    vendor.desk.revoke()
    hold = Hold()
    vendor.next_faults.append(Fault(matches=lambda call: not is_login(call), applies=True, hold=hold))
    late = asyncio.ensure_future(login.request(*PEOPLE))
    await hold.reached.wait()
    await login.request(*PEOPLE)
    hold.release()
    assert (await late).status == 200
    assert asked(vendor).count(TOKEN) == 2


async def test_a_second_refusal_is_everybodys_and_no_third_login_is_made(vendor, login):
    vendor.standing_faults.append(Fault(matches=lambda call: not is_login(call), answer=Answer(401, {"message": "no"})))
    with pytest.raises(RefusedError, match=KEYS):
        await login.request(*PEOPLE)
    assert asked(vendor) == [TOKEN, PEOPLE, TOKEN, PEOPLE]


async def test_a_crm_that_gives_the_same_token_again_is_not_asked_by_each(vendor, login):
    """Some do, as long as it is good."""
    vendor.standing_faults.append(Fault(matches=is_login, answer=Answer(200, {"access_token": "the-same-token"})))
    results = await asyncio.gather(*(login.request(*PEOPLE) for _ in range(10)), return_exceptions=True)
    assert {type(result) for result in results} == {RefusedError}
    assert asked(vendor).count(TOKEN) == 2


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(401, {"error": "invalid_client", "error_description": "wrong"}), RefusedError),
        (Answer(400, {"error": "invalid_grant"}), RefusedError),
        (Answer(403, b"<html>no</html>", {"Content-Type": "text/html"}), RefusedError),
        (Answer(302, b"", {"Location": "http://127.0.0.1:1/"}), RefusedError),
        (Answer(503, b""), OutageError),
        (Answer(429, {}, {"Retry-After": "9"}), ThrottledError),
        (Answer(200, b"<html>sign in</html>"), OutageError),
        (Answer(200, {"access_token": "two\nlines"}), OutageError),
        (Answer(200, {"access_token": ""}), OutageError),
        (Answer(200, {"access_token": 7}), OutageError),
        (Answer(200, b'{"access_token": "' + b"x" * 5_000_000 + b'"}'), OutageError),
    ],
    ids=lambda value: getattr(value, "__name__", None) or str(value.status),
)
async def test_what_comes_of_a_login_is_told_to_all_that_waited_for_it(vendor, login, answer, kind):
    """No contact was in it, so that it is never one that may be about some contacts only."""
    vendor.standing_faults.append(Fault(matches=is_login, answer=answer))
    results = await asyncio.gather(*(login.request(*PEOPLE) for _ in range(5)), return_exceptions=True)
    assert {type(result) for result in results} == {kind}
    assert not any(isinstance(result, StatusRefusedError) or SECRET in str(result) for result in results)
    assert asked(vendor) == [TOKEN]


async def test_after_a_login_that_failed_the_next_request_tries_again(vendor, login):
    vendor.next_faults.append(Fault(matches=is_login, answer=Answer(503)))
    with pytest.raises(OutageError):
        await login.request(*PEOPLE)
    assert (await login.request(*PEOPLE)).status == 200


async def test_a_request_that_is_cancelled_while_it_logs_in_leaves_the_others_to_do_so(vendor, login):
    hold = Hold()
    vendor.next_faults.append(Fault(matches=is_login, hold=hold))
    first = asyncio.ensure_future(login.request(*PEOPLE))
    await hold.reached.wait()
    second = asyncio.ensure_future(login.request(*PEOPLE))
    first.cancel()
    assert (await second).status == 200
    hold.release()
    assert first.cancelled()


@pytest.mark.parametrize(
    ("life_s", "good_for_s"), [(3600, 3540), ("3600", 3540), (100, 50), (None, math.inf), ("long", math.inf), (-5, math.inf)]
)
async def test_a_token_is_renewed_before_it_ends(vendor, login, life_s, good_for_s, monkeypatch):
    now_s = 1000.0
    monkeypatch.setattr(token_login, "time", SimpleNamespace(monotonic=lambda: now_s))
    vendor.desk.tokens["a-token"] = math.inf
    granted(vendor, {"access_token": "a-token", "expires_in": life_s})
    await login.request(*PEOPLE)
    now_s += min(good_for_s, 1e6) - 1
    await login.request(*PEOPLE)
    assert asked(vendor).count(TOKEN) == 1
    now_s += 1
    await login.request(*PEOPLE)
    assert asked(vendor).count(TOKEN) == (1 if good_for_s == math.inf else 2)


async def test_neither_token_nor_secret_is_in_an_answer_that_quotes_them(vendor, login):
    await login.request(*PEOPLE)
    [token] = vendor.desk.tokens
    vendor.next_faults.append(Fault(answer=Answer(500, {"message": f"Bearer {token} of {CLIENT} with {SECRET}"})))
    with pytest.raises(OutageError, match=r"\(500: Bearer \*\*\* of \*\*\* with \*\*\*\)"):
        await login.request(*PEOPLE)


async def test_a_name_and_a_password_may_be_sent_as_json_for_a_token_of_another_name():
    async with Vendor({"username": "ada", "password": SECRET}) as vendor, Http(vendor.url, {}) as http:
        vendor.desk.granted = lambda token: Answer(200, {"token": token})
        login = TokenLogin(http, "/token", body={"username": "ada", "password": SECRET}, keys=KEYS, member="token")
        assert (await login.request(*PEOPLE)).status == 200
        assert vendor.requests[0].body == {"username": "ada", "password": SECRET}


async def test_a_witness_sees_that_there_was_a_login_and_not_what_was_in_it(vendor):
    seen = []
    witness = SimpleNamespace(asked=seen.append, answered=lambda _: None)
    async with Http(vendor.url, {}, witness=witness) as http:
        with pytest.raises(RefusedError):
            await TokenLogin(http, "/token", body={"username": "ada", "password": "short"}, keys=KEYS).request(*PEOPLE)
        vendor.desk.credentials = FORM
        await TokenLogin.client_credentials(http, "/token", CLIENT, SECRET, keys=KEYS).request(*PEOPLE)
    assert [(one.body, one.login) for one in seen if one.login] == [
        ("***", True),
        ("grant_type=client_credentials&client_id=***&client_secret=***", True),
    ]
    assert "short" not in str(seen)
    assert SECRET not in str(seen)


def test_a_login_in_json_that_looks_like_a_form_is_masked_as_a_whole():
    body = json.dumps({"password": "a=b&c=d"}).encode()
    request = Request("POST", "https://crm.example.com/token", {}, body, login=True)
    assert "b" not in str(shown(request, lambda text: text).body).replace("***", "")


async def test_the_scope_is_sent(vendor, http):
    vendor.desk.credentials = {**FORM, "scope": "contacts"}
    login = TokenLogin.client_credentials(http, "/token", CLIENT, SECRET, keys=KEYS, scope="contacts")
    assert (await login.request(*PEOPLE)).status == 200


async def test_a_refusal_says_what_to_check(vendor, http):
    login = TokenLogin.client_credentials(http, "/token", CLIENT, "another-secret", keys=KEYS)
    with pytest.raises(RefusedError) as caught:
        await login.request(*PEOPLE)
    assert caught.value.code == Code.REFUSED
    words = "the CRM gives no token (401: invalid_client: the credentials are not valid)"
    assert caught.value.reason == f"{words}: {KEYS}"
