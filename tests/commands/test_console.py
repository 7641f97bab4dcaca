"""crm-sync console, token and sandbox, and demo --keep: what they print, and what that opens."""

import asyncio
import os
import pty
import re
import signal
import sys
from contextlib import asynccontextmanager

import aiohttp
import pytest
from click.testing import CliRunner

from crm_sync.api.routes import Scope
from crm_sync.cli import crm_sync
from crm_sync.console.tokens import Tokens, read_tokens
from tests.harness import TIMEOUT_S
from tests.process import environment
from tests.tiers import slow

EXIT_CONFIGURATION = 78
DEMO_S = 120.0


def made(*arguments):
    answer = CliRunner().invoke(crm_sync, ["token", *arguments])
    assert answer.exit_code == 0, answer.output
    [token] = re.findall(r"^    (\S+)$", answer.stderr, re.MULTILINE)
    return token, answer.stdout


def test_a_token_opens_with_the_section_that_is_printed_which_does_not_tell_it(tmp_path):
    token, section = made("support", "--scope", "flip", "--role", 'a "role"')
    assert token not in section
    file = tmp_path / "tokens.toml"
    file.write_text(section + made("other")[1])
    visitor = Tokens(read_tokens(file)).visitor(token)
    assert (visitor.name, visitor.scopes, visitor.role) == ("support", {Scope.READ, Scope.FLIP}, 'a "role"')


def test_no_two_tokens_are_alike():
    assert len({made("a")[0] for _ in range(20)}) == 20


@pytest.mark.parametrize("name", ["console", "a b", "", "x" * 41, "a.b"])
def test_a_name_that_a_section_or_a_cookie_cannot_have_is_refused(name):
    answer = CliRunner().invoke(crm_sync, ["token", name])
    assert (answer.exit_code, answer.stdout) == (2, "")


@pytest.mark.parametrize("listen", ["8080", "crm.example.com:8080", "http://127.0.0.1:8080", "unix:console.sock"])
def test_an_address_that_is_none_is_refused(url, listen):
    answer = CliRunner().invoke(crm_sync, ["console", "--listen", listen], env={"DATABASE_URL": url})
    assert (answer.exit_code, "expected an address and a port" in answer.output) == (2, True)


@asynccontextmanager
async def command(*arguments, env, terminal=False):
    """(process, its output line by line). It must end cleanly."""
    ours, its = pty.openpty() if terminal else os.pipe()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "crm_sync", *arguments), env=env, stdout=its, stderr=asyncio.subprocess.PIPE
    )
    os.close(its)
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(ours, "rb", buffering=0)
    )
    try:
        yield process, reader
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(TIMEOUT_S):
            assert await process.wait() == 0
    finally:
        transport.close()
        if process.returncode is None:
            process.kill()


async def found(reader, pattern, within_s=TIMEOUT_S):
    """The first group in the first line that matches."""
    async with asyncio.timeout(within_s):
        while line := (await reader.readline()).decode():
            if match := re.search(pattern, line):
                return match[1]
    raise AssertionError(f"{pattern} was never said")


@slow
async def test_in_a_terminal_it_prints_a_link_that_signs_in(url):
    async with command("console", "--listen", "127.0.0.1:0", env=environment(url, owner=True), terminal=True) as (_, said):
        link = await found(said, r"The console: (\S+)")
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http, http.get(link) as answer:
            assert (answer.status, "Overview" in await answer.text()) == (200, True)
            assert "token" not in str(answer.url)


@slow
async def test_elsewhere_it_prints_no_token_and_does_not_start_without_one(url):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "crm_sync", "console", "--listen", "127.0.0.1:0"), env=environment(url, owner=True),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(TIMEOUT_S):
        told, said = await process.communicate()
    assert (process.returncode, told) == (EXIT_CONFIGURATION, b"")
    assert b"CONSOLE_TOKEN" in said


@slow
async def test_a_sandbox_says_the_settings_of_a_worker_and_listens(url):
    async with command("sandbox", "brevo", env=environment(url)) as (_, said):
        key = await found(said, r"^BREVO_API_KEY=(\S+)")
        where = await found(said, r"What it holds: (\S+)")
        async with aiohttp.ClientSession() as http, http.get(where) as answer:
            assert (answer.status, await answer.json()) == (200, [])
    assert key


@slow
async def test_a_demo_that_is_kept_opens_a_console_on_its_contacts(url):
    async with command("demo", "--contacts", "200", "--keep", env=environment(url)) as (_, said):
        link = await found(said, r"The console: (\S+)", DEMO_S)
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
            async with http.get(link) as answer:
                page = await answer.text()
            assert "alive" in page, "its worker"
            async with http.get(link.partition("login")[0] + "failures") as answer:
                assert "In Error" in await answer.text()
