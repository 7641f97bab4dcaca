"""Who gets in, and from where."""

import hashlib

import pytest

from crm_sync.api.references import References
from crm_sync.console.door import _inner
from crm_sync.console.guard import COOKIE
from crm_sync.console.templating import Pages
from crm_sync.console.tokens import SESSION_S, Tokens, of_setting
from crm_sync.errors import ConfigurationError
from tests.console.running import OURS, TOKEN, port_of, visiting
from tests.steps import insert, read


async def test_without_a_token_every_page_leads_to_the_door(visit):
    for path in ("", "contacts", "failures", "crms/brevo", "find?q=a"):
        async with visit.http.get(visit.where + path, allow_redirects=False) as response:
            assert (response.status, response.headers["Location"].startswith("/login?next=/")) == (303, True), path


async def test_a_part_of_a_page_says_that_the_session_has_ended(visit):
    status, words = await visit.get("parts/overview", headers={"HX-Request": "true"})
    assert (status, words) == (401, "The session has ended, and nothing was changed. Sign in again.\n")


async def test_the_token_opens_and_its_cookie_is_for_our_own_pages_only(visit):
    async with visit.http.post(visit.where + "login", data={"token": TOKEN}, headers=OURS, allow_redirects=False) as response:
        cookie = response.headers["Set-Cookie"]
    assert all(part in cookie for part in ("HttpOnly", "SameSite=Strict", "Path=/"))
    assert TOKEN not in cookie
    assert (await visit.get(""))[0] == 200


async def test_the_link_of_a_terminal_opens_and_does_not_stay_in_the_address(visit):
    async with visit.http.get(f"{visit.where}login?token={TOKEN}", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (303, "/")
    assert (await visit.get(""))[0] == 200


@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], TOKEN + "x", "ä" * 30])
async def test_a_wrong_token_opens_nothing(visit, token):
    assert await visit.sign_in(token) == 401
    assert (await visit.get(""))[0] == 303
    assert (await visit.call("GET", "/crms", token=token.encode().hex() if "ä" in token else token or None))[0] == 401


@pytest.mark.parametrize("cookie", ["", "console.9999999999.0", "console.9999999999", "x", "..", "console.1e9.ä"])
async def test_a_cookie_that_is_not_ours_opens_nothing(visit, cookie):
    assert (await visit.get("", headers={"Cookie": f"crm_sync_console={cookie}"}))[0] == 303


async def test_signing_out_ends_it(signed_in):
    assert (await signed_in.post("logout"))[0] == 303
    assert (await signed_in.get(""))[0] == 303


async def session_of(visit) -> dict[str, str]:
    """A new one, as anyone who copies the cookie has it."""
    async with visit.http.post(visit.where + "login", data={"token": TOKEN}, headers=OURS, allow_redirects=False) as response:
        return {"Cookie": f"{COOKIE}={response.cookies[COOKIE].value}"}


async def test_who_signs_out_ends_the_session_also_for_a_copy_of_its_cookie_and_no_other_session(visit):
    first, second = await session_of(visit), await session_of(visit)
    visit.http.cookie_jar.clear()
    assert [(await visit.get("", headers=one))[0] for one in (first, second)] == [200, 200]
    assert (await visit.post("logout", headers={**OURS, **first}))[0] == 303
    assert [(await visit.get("", headers=one))[0] for one in (first, second)] == [303, 200]
    assert (await visit.post("crms/brevo", {"act": "pause", "reason": "x"}, headers={**OURS, **first}))[0] == 401


def test_a_session_that_was_ended_is_remembered_no_longer_than_it_would_have_lasted():
    tokens = Tokens([of_setting(TOKEN)])
    visitor = tokens.visitor(TOKEN)
    cookies = [tokens.cookie(visitor, now) for now in (0.0, 1.0)]
    for cookie in cookies:
        tokens.end(cookie, 2.0)
        assert tokens.of_cookie(cookie, 2.0) is None
    tokens.end("not.ours.0.0", 2.0)
    assert len(tokens._ended) == 2
    tokens.end(cookies[0], SESSION_S + 0.5)
    assert [*tokens._ended] == [cookies[1]]


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "[::2]", "a b"])
async def test_a_host_that_is_not_ours_is_refused_so_no_rebound_name_reads_us(signed_in, host):
    status, words = await signed_in.get("", headers={"Host": f"{host}:{port_of(signed_in)}"})
    assert status in (400, 421)
    assert "contact" not in words.lower()


async def test_names_of_a_proxy_are_set(url):
    async with visiting(url, console_hosts="crm.example.com") as visit:
        assert (await visit.get("login", headers={"Host": "crm.example.com"}))[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {},
    ],
)
async def test_no_other_page_has_a_browser_change_anything(app, signed_in, headers):
    contact = await insert(app, "New")
    status, _ = await signed_in.post(f"contacts/{contact}/brevo", {"status": "Queued"}, headers=headers)
    assert status == 403
    assert (await read(app, contact))["sync_status"] == "New"


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
@pytest.mark.parametrize("path", ["", "find?q=ada@example.com", "v1/crms"])
async def test_no_other_page_has_a_browser_load_anything(signed_in, site, path):
    for kind in ("image", "iframe", "empty", "script"):
        mode = "navigate" if kind == "iframe" else "no-cors"
        headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": kind, "Authorization": f"Bearer {TOKEN}"}
        assert (await signed_in.get(path, headers=headers))[0] == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site", "none", "same-origin"])
async def test_a_link_from_anywhere_leads_to_a_page(signed_in, site):
    headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert (await signed_in.get("", headers=headers))[0] == 200


async def test_an_older_browser_says_where_it_comes_from(app, signed_in):
    contact = await insert(app, "New")
    origin = {"Origin": signed_in.where.rstrip("/")}
    assert (await signed_in.post(f"contacts/{contact}/brevo", {"status": "Queued"}, headers=origin))[0] == 303


async def test_looking_changes_nothing(app, signed_in):
    contact = await insert(app, "New")
    for path in (f"contacts/{contact}/brevo?status=Queued", "selections?crm=brevo&status=Queued&confirm=yes", "logout"):
        assert (await signed_in.get(path))[0] in (200, 303)
    assert (await signed_in.get(""))[0] == 200, "still signed in"
    assert (await read(app, contact))["sync_status"] == "New"


async def test_every_answer_has_the_headers_that_keep_it_closed(signed_in):
    for path in ("", "contacts", "nothing", "login", "v1/crms", "static/console.css", "static/nothing"):
        async with signed_in.http.get(signed_in.where + path) as response:
            policy = response.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy, path
            assert "unsafe" not in policy
            assert response.headers["X-Content-Type-Options"] == "nosniff", path
            assert response.headers["Referrer-Policy"] == "no-referrer", path
            if not path.startswith("static/console"):
                assert response.headers["Cache-Control"] == "no-store", path


@pytest.mark.parametrize("name", ["..%2fserver.py", "%2e%2e/server.py", "htmx.LICENSE", "x"])
async def test_no_file_but_the_listed_ones_is_served(visit, name):
    assert (await visit.get(f"static/{name}"))[0] in (303, 404)


async def test_the_api_takes_no_cookie(signed_in):
    assert (await signed_in.call("GET", "/crms", token=None))[0] == 401


async def test_a_proxy_says_who_it_is_and_nobody_else_can(url):
    async with visiting(url, console_user_header="X-User", console_proxies="10.0.0.1", console_token=None) as visit:
        assert (await visit.get("", headers={"X-User": "ada"}))[0] == 303
    async with visiting(url, console_user_header="X-User", console_proxies="127.0.0.0/8", console_token=None) as visit:
        status, page = await visit.get("", headers={"X-User": "<b>ada</b>"})
        assert status == 200
        assert "Signed in as &lt;b&gt;ada&lt;/b&gt;" in page
        assert (await visit.get(""))[0] == 303


async def test_a_unix_socket_is_for_its_owner_and_group(url, tmp_path):
    path = tmp_path / "console.sock"
    async with visiting(url, console_listen=f"unix:{path}", console_token=None) as visit:
        assert (await visit.get(""))[0] == 200
        assert path.stat().st_mode & 0o777 == 0o660
    assert not path.exists()


async def test_a_socket_that_was_left_behind_is_replaced_and_nothing_else_is(url, tmp_path):
    path = tmp_path / "console.sock"
    async with visiting(url, console_listen=f"unix:{path}", console_token=None) as visit:
        with pytest.raises(ConfigurationError, match="another process listens"):
            async with visiting(url, console_listen=f"unix:{path}", console_token=None):
                pass
        assert (await visit.get(""))[0] == 200, "the first goes on"
    path.write_text("a file of somebody's")
    with pytest.raises(ConfigurationError, match="is not a socket"):
        async with visiting(url, console_listen=f"unix:{path}", console_token=None):
            pass
    assert path.read_text() == "a file of somebody's"


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "0.0.0.0:0"])
async def test_it_does_not_start_open_to_everybody(url, listen):
    with pytest.raises(ConfigurationError, match="CONSOLE_TOKEN"):
        async with visiting(url, console_listen=listen, console_token=None):
            pass


async def test_a_header_alone_is_not_enough_for_an_address(url):
    with pytest.raises(ConfigurationError, match="CONSOLE_PROXIES"):
        async with visiting(url, console_user_header="X-User", console_token=None):
            pass


@pytest.fixture
def tokens_file(tmp_path):
    """With a token that reads, and one that reads and flips."""
    file = tmp_path / "tokens.toml"
    digest = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("reader", "flipper")}
    file.write_text(
        f'[reader]\nsha256 = "{digest["reader"]}"\nscopes = ["read"]\n'
        f'[flipper]\nsha256 = "{digest["flipper"]}"\nscopes = ["read", "flip"]\n'
    )
    return file


async def test_a_token_allows_its_scopes_and_no_more(app, url, tokens_file):
    contact = await insert(app, "New")
    async with visiting(url, console_tokens_file=tokens_file) as visit:
        change = ("POST", f"/contacts/{contact}/brevo", {"status": "Selected"})
        pause = ("PUT", "/crms/brevo/pause", {"reason": "a test"})
        look = ("GET", f"/contacts/{contact}", None)
        reveal = ("GET", f"/contacts/{contact}?reveal=true", None)
        for token, allowed in {
            "reader": (look,),
            "flipper": (look, reveal, change),
            TOKEN: (look, reveal, change, pause),
        }.items():
            for call in (look, reveal, change, pause):
                status, _, said = await visit.call(*call, token=token)
                assert status == (200 if call in allowed else 403), (token, call, said)
                assert call in allowed or "scope" in said["detail"]


async def test_a_reader_sees_no_button(app, url, tokens_file):
    contact = await insert(app, "New")
    async with visiting(url, console_tokens_file=tokens_file) as visit:
        assert await visit.sign_in("reader") == 303
        _, page = await visit.get(f"contacts/{contact}")
        assert "read-only" in page
        assert 'name="status"' not in page
        assert (await visit.post(f"contacts/{contact}/brevo", {"status": "Queued"}))[0] == 403


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[a", "cannot be read"),
        ("[a]\nsha256 = 'x'\nscopes = ['read']", "64 hexadecimal"),
        (f"[a]\nsha256 = '{'0' * 64}'\nscopes = []", "scopes is expected"),
        (f"[a]\nsha256 = '{'0' * 64}'\nscopes = ['write']", "scopes is expected"),
        (f"[a]\nsha256 = '{'0' * 64}'\nscopes = ['read']\nrole = 3", "role is expected"),
        (f"[a]\nsha256 = '{'0' * 64}'\nscopes = ['read']\nscope = 'x'", "scope is not known"),
        ("['a b']", "expected a name"),
        ("a = 1", "expected a section"),
    ],
)
async def test_what_is_wrong_in_the_file_of_tokens_is_named(url, tmp_path, text, words):
    file = tmp_path / "tokens.toml"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=words):
        async with visiting(url, console_tokens_file=file):
            pass


async def test_below_a_path_of_a_proxy_everything_stays_below_it(url):
    async with visiting(url, console_base_path="/crm-sync") as visit:
        assert visit.where.endswith("/crm-sync/")
        assert await visit.sign_in() == 303
        status, page = await visit.get("")
        assert status == 200
        assert 'href="/crm-sync/contacts"' in page
        assert 'href="/contacts' not in page
        _, _, document = await visit.call("GET", "/openapi.json")
        assert document["servers"] == [{"url": "/crm-sync"}]


@pytest.mark.parametrize("following", ["//evil.example", "https://evil.example", "/\\evil.example", "evil"])
async def test_the_door_leads_nowhere_else(visit, following):
    async with visit.http.post(
        visit.where + "login", data={"token": TOKEN, "next": following}, headers=OURS, allow_redirects=False
    ) as response:
        assert response.headers["Location"] == "/"


@pytest.mark.parametrize(
    "path", ["//evil.com", "/\\evil.com", "/\t/evil.com", "/\n/evil.com", "https://evil.com", "evil.com", ""]
)
def test_nobody_is_led_to_another_host_by_signing_in(path):
    assert _inner(path) == "/"


def test_a_page_of_ours_is_where_it_goes_on():
    assert _inner("/contacts?crm=brevo") == "/contacts?crm=brevo"


def test_a_key_is_one_part_of_a_path():
    """A browser turns `a/../b` into the page of `b`, whose buttons would change another contact."""
    pages = Pages("/crm", References())
    assert pages.page_of("a/../b", "brevo") == "/crm/contacts/a%2F..%2Fb/brevo"
    assert pages.page_of("50% ?#", page="reveal") == "/crm/reveal/50%25%20%3F%23"


async def test_a_page_that_follows_something_is_led_to_the_door_when_its_session_has_ended(visit):
    async with visit.http.get(f"{visit.where}parts/overview", headers={"HX-Request": "true"}) as response:
        assert (response.status, response.headers["HX-Refresh"]) == (401, "true")


async def test_a_form_that_was_sent_too_late_leads_to_the_door_and_back_to_its_page(app, visit):
    contact = await insert(app, "New")
    status, page = await visit.post(f"contacts/{contact}/brevo", {"status": "Queued"})
    assert (status, f'href="/contacts/{contact}/brevo">Sign in</a>' in page) == (401, True)
    async with visit.http.get(f"{visit.where}contacts/{contact}/brevo", allow_redirects=False) as response:
        assert response.headers["Location"] == f"/login?next=/contacts/{contact}/brevo"
    assert (await read(app, contact))["sync_status"] == "New"
