"""The proxy between this machine and a CRM: when it is used, what it receives, and the messages if it does not work."""

import asyncio
import base64
import os
from contextlib import asynccontextmanager, suppress

import pytest

from crm_sync.crm.account import over_http
from crm_sync.crm.http import Http
from crm_sync.crm.limiter import UNLIMITED
from crm_sync.crm.proxy import proxy_for
from crm_sync.crm.trail import followed
from crm_sync.environment import Environment, read
from crm_sync.errors import ConfigurationError, NotSentError
from crm_sync.settings import ProxySettings

KEY = "xkeysib-0123456789abcdef"
PASSWORD = "p@ss/word:9"
NAMES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "HTTP_ALLOWED_HOSTS", "BREVO_LIMITS")
OK = b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"id": 7}'


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch, tmp_path):
    for name in NAMES:
        for spelling in (name, name.lower()):
            monkeypatch.delenv(spelling, raising=False)
    monkeypatch.chdir(tmp_path)


def chosen(url, **given):
    proxy = proxy_for(url, ProxySettings(**given))
    return proxy and (str(proxy.url), proxy.setting)


# Which.


@pytest.mark.parametrize(
    ("given", "https", "http"),
    [
        ({}, None, None),
        ({"https_proxy": "http://a:1"}, "http://a:1", None),
        ({"http_proxy": "http://a:1"}, None, "http://a:1"),
        ({"all_proxy": "http://a:1"}, "http://a:1", "http://a:1"),
        ({"all_proxy": "http://a:1", "https_proxy": "http://b:2"}, "http://b:2", "http://a:1"),
        ({"https_proxy": "a:3128"}, "http://a:3128", None),
        ({"https_proxy": "http://a"}, "http://a", None),
        ({"https_proxy": "https://a:8443/"}, "https://a:8443", None),
        ({"https_proxy": "http://[fd00::1]:3128"}, "http://[fd00::1]:3128", None),
    ],
)
def test_each_scheme_has_its_own_proxy_and_one_may_be_for_all(given, https, http):
    for url, expected in (("https://crm.example/v3", https), ("http://crm.example/v3", http)):
        proxy = proxy_for(url, ProxySettings(**given))
        assert (str(proxy.url) if proxy else None) == expected


@pytest.mark.parametrize(
    "url", ["https://localhost", "http://127.0.0.1:80/", "https://127.9.9.9", "http://[::1]:1", "http://a.localhost"]
)
def test_loopback_is_reached_directly(url):
    assert chosen(url, all_proxy="http://a:1") is None


@pytest.mark.parametrize(
    ("no_proxy", "url", "direct"),
    [
        ("crm.example", "https://crm.example", True),
        ("crm.example", "https://eu.crm.example", True),
        (".crm.example", "https://eu.crm.example", True),
        (".crm.example", "https://crm.example", True),
        ("*.crm.example", "https://eu.crm.example", True),
        ("crm.example", "https://notcrm.example", False),
        ("CRM.Example.", "https://crm.example", True),
        ("other.example, crm.example", "https://crm.example", True),
        ("other.example crm.example", "https://crm.example", True),
        ("crm.example:443", "https://crm.example", True),
        ("crm.example:8443", "https://crm.example", False),
        ("crm.example:8443", "https://crm.example:8443", True),
        ("crm.example:80", "http://crm.example", True),
        ("*", "https://crm.example", True),
        ("", "https://crm.example", False),
        (",,", "https://crm.example", False),
        ("10.0.0.7", "http://10.0.0.7", True),
        ("10.0.0.7:5678", "http://10.0.0.7:5678", True),
        ("10.0.0.0/8", "http://10.0.0.7:5678", True),
        ("10.0.0.0/8", "http://11.0.0.7", False),
        ("10.0.0.0/99", "http://10.0.0.7", False),
        ("0.0.7", "http://10.0.0.7", False),
        ("fd00::/8", "http://[fd00::1]:5678", True),
        ("[fd00::1]:5678", "http://[fd00::1]:5678", True),
        ("fd00:0::1", "http://[fd00::1]", True),
        ("n8n", "http://n8n:5678", True),
    ],
)
def test_no_proxy_names_who_is_reached_directly(no_proxy, url, direct):
    assert (chosen(url, all_proxy="http://a:1", no_proxy=no_proxy) is None) == direct


@pytest.mark.parametrize("scheme", ["socks", "socks4", "socks5", "socks5h", "SOCKS5", "ftp"])
@pytest.mark.parametrize("setting", ["https_proxy", "all_proxy"])
def test_a_proxy_that_cannot_be_used_is_refused_by_the_name_of_its_setting(scheme, setting):
    with pytest.raises(ConfigurationError, match=f"^{setting.upper()}: crm-sync cannot use a {scheme.lower()} proxy") as caught:
        chosen("https://crm.example", **{setting: f"{scheme}://ada:{KEY}@a:1"})
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("value", ["http:///x", "http://a:port", "http://a:99999", "http://:3128", "http://ada:secret@"])
def test_a_proxy_that_is_no_url_is_refused_and_not_quoted(value):
    with pytest.raises(ConfigurationError, match=r"^HTTPS_PROXY: expected a URL such as") as caught:
        chosen("https://crm.example", https_proxy=value)
    assert value not in str(caught.value)


def test_a_proxy_that_cannot_be_used_is_no_matter_where_it_is_not():
    assert chosen("https://crm.example", all_proxy="socks5://a:1", no_proxy="crm.example") is None
    assert chosen("https://crm.example", all_proxy="socks5://a:1", https_proxy="http://b:2") == ("http://b:2", "HTTPS_PROXY")


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy"])
def test_the_settings_are_those_of_other_programs_in_both_spellings(name, monkeypatch):
    monkeypatch.setenv(name, "http://a:1")
    assert chosen_by_the_environment() == "http://a:1"


@pytest.mark.parametrize("order", [("HTTPS_PROXY", "https_proxy"), ("https_proxy", "HTTPS_PROXY")])
def test_of_both_spellings_the_small_letters_count(order, monkeypatch):
    for name in order:
        monkeypatch.setenv(name, f"http://{'small' if name.islower() else 'large'}:1")
    assert chosen_by_the_environment() == "http://small:1"


def chosen_by_the_environment():
    with Environment.capture().in_force():
        return str(proxy_for("https://crm.example", read(ProxySettings)).url)


def test_nobody_is_shown_the_password():
    settings = ProxySettings(https_proxy=f"http://ada:{KEY}@proxy.example:3128")
    proxy = proxy_for("https://crm.example", settings)
    assert str(proxy) == "the proxy http://proxy.example:3128 (HTTPS_PROXY)"
    assert KEY not in f"{proxy} {settings!r}"


# What it is told, and says.


class Proxy:
    """Answers every request with these bytes, and keeps the heads."""

    def __init__(self, said):
        self.heads = []
        self._said = said

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_):
        self._server.close()

    async def _serve(self, reader, writer):
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head.decode())
                await reader.readexactly(
                    next((int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:")), 0)
                )
                writer.write(self._said)
                await writer.drain()
                if b"200 OK" not in self._said:
                    break
        writer.close()


@asynccontextmanager
async def through(proxy_address, base_url, *, credentials="ada:p%40ss%2Fword%3A9@"):
    proxy = proxy_for(base_url, ProxySettings(all_proxy=f"http://{credentials}{proxy_address}"))
    async with Http(base_url, {"api-key": KEY}, proxy=proxy, timeout_s=10) as http:
        yield http


BASIC = f"Basic {base64.b64encode(f'ada:{PASSWORD}'.encode()).decode()}"


async def test_plain_http_is_asked_for_of_the_proxy_with_its_credentials():
    async with Proxy(OK) as proxy, through(proxy.address, "http://crm.example") as http:
        for _ in range(2):
            assert (await http.request("POST", "/contacts?a=b", {"x": 1})).get("id") == 7
    for head in proxy.heads:
        assert head.startswith("POST http://crm.example/contacts?a=b HTTP/1.1\r\n")
        assert f"Proxy-Authorization: {BASIC}\r\n" in head


async def test_https_is_a_tunnel_and_neither_key_nor_body_are_told_to_the_proxy():
    async with (
        Proxy(b"HTTP/1.1 200 Connection established\r\n\r\n") as proxy,
        through(proxy.address, "https://crm.example") as http,
    ):
        with pytest.raises(
            NotSentError, match=r"UNREACHABLE: no connection, through the proxy http://127\.0\.0\.1:\d+ \(ALL_PROXY\)"
        ):
            async with asyncio.timeout(8):
                await http.request("POST", "/contacts", {"email": "ada@example.com"})
    (head,) = proxy.heads[:1]
    assert head.startswith("CONNECT crm.example:443 HTTP/1.1\r\n")
    assert f"Proxy-Authorization: {BASIC}\r\n" in head
    assert KEY not in head


@pytest.mark.parametrize("url", ["https://crm.example", "http://crm.example"])
async def test_a_proxy_that_wants_credentials_is_named_with_its_setting(url):
    said = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    async with Proxy(said) as proxy, through(proxy.address, url) as http:
        with followed("a CRM", "upsert") as trail, pytest.raises(NotSentError) as caught:
            await http.request("POST", "/contacts", {})
    assert not trail.all_written
    assert str(caught.value) == (
        f"UNREACHABLE: no connection: the proxy http://{proxy.address} (ALL_PROXY) answered 407 Proxy Authentication Required: "
        "check the user and the password in ALL_PROXY"
    )
    assert caught.value.__cause__ is None
    assert PASSWORD not in repr(caught.value)


async def test_a_proxy_that_does_not_let_us_through_is_named():
    said = b"HTTP/1.1 403 Forbidden by policy\r\nContent-Length: 0\r\n\r\n"
    async with Proxy(said) as proxy, through(proxy.address, "https://crm.example") as http:
        with pytest.raises(NotSentError, match=r"the proxy http://127.* \(ALL_PROXY\) answered 403 Forbidden by policy$"):
            await http.request("POST", "/contacts", {})


@pytest.mark.parametrize("url", ["https://crm.example", "http://crm.example"])
async def test_a_proxy_that_is_not_there_is_named(url):
    async with Proxy(OK) as gone:
        pass
    async with through(gone.address, url) as http:
        with pytest.raises(NotSentError, match=r"UNREACHABLE: no connection to the proxy http://127.* \(ALL_PROXY\): \w"):
            await http.request("POST", "/contacts", {})


@pytest.mark.parametrize("url", ["https://crm.example", "http://crm.example"])
async def test_a_proxy_whose_name_is_not_found_is_named(url):
    async with through("proxy.invalid:3128", url) as http:
        with pytest.raises(NotSentError, match=r"no connection to the proxy http://proxy.invalid:3128 \(ALL_PROXY\)"):
            await http.request("POST", "/contacts", {})


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 2", b"SSH-2.0-OpenSSH\r\n\r\n"])
async def test_a_proxy_that_breaks_off_is_named(said):
    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, through(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", "https://crm.example") as http:
        with pytest.raises(Exception, match=r"through the proxy http://127") as caught:
            await http.request("POST", "/contacts", {})
    assert getattr(caught.value, "code", None) == "BROKEN_ANSWER"


async def test_what_a_proxy_quotes_of_its_own_password_is_masked():
    said = f"HTTP/1.1 200 OK\r\nContent-Length: {len(PASSWORD) + len(BASIC) + 1}\r\n\r\n{PASSWORD} {BASIC}".encode()
    async with Proxy(said) as proxy, through(proxy.address, "http://crm.example") as http:
        assert (await http.send("GET", "/")).text == "*** Basic ***"


async def test_an_account_goes_through_the_proxy_that_is_set(monkeypatch):
    async with Proxy(OK) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.address}")
        monkeypatch.setenv("HTTP_ALLOWED_HOSTS", "crm.example")
        account = over_http("brevo", Asking, url_setting="X", base_url="http://crm.example", headers={}, default_fields={})
        assert account.proxy == f"the proxy http://{proxy.address} (HTTP_PROXY)"
        async with account.open(UNLIMITED) as client:
            assert (await client.http.request("GET", "/")).get("id") == 7
    assert proxy.heads


def test_an_account_behind_a_proxy_that_cannot_be_used_is_refused(monkeypatch):
    monkeypatch.setenv("all_proxy", "socks5h://127.0.0.1:1080")
    with pytest.raises(ConfigurationError, match="ALL_PROXY: crm-sync cannot use a socks5h proxy"):
        over_http("brevo", Asking, url_setting="X", base_url="https://crm.example", headers={}, default_fields={})


async def test_no_key_is_taken_out_of_netrc(monkeypatch, tmp_path):
    (tmp_path / ".netrc").write_text("machine crm.example login ada password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    async with Proxy(OK) as proxy, through(proxy.address, "http://crm.example", credentials="") as http:
        await http.request("GET", "/")
    assert "authorization" not in proxy.heads[0].lower()
    assert os.environ["NETRC"]


class Asking:
    concurrency = 1
    batch_limit = 1

    def __init__(self, http):
        self.http = http
