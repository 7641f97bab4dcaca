"""A console on a test's database, and its visitors."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from crm_sync.configuration import Configuration
from crm_sync.console.server import running_console
from crm_sync.console_settings import ConsoleSettings
from crm_sync.environment import Environment
from crm_sync.settings import Settings

TOKEN = "token-of-the-console-of-the-tests"
OURS = {"Sec-Fetch-Site": "same-origin"}  # what a browser sends with one of our forms


@dataclass
class Visit:
    """where: the console's URL, with its base path."""

    where: str
    http: aiohttp.ClientSession

    async def get(self, path: str, **arguments: object) -> tuple[int, str]:
        async with self.http.get(self.where + path, allow_redirects=False, **arguments) as response:
            return response.status, await response.text()

    async def post(self, path: str, form: dict | None = None, **arguments: object) -> tuple[int, str]:
        arguments = {"headers": OURS, **arguments}
        async with self.http.post(self.where + path, data=form or {}, allow_redirects=False, **arguments) as response:
            return response.status, await response.text()

    async def done(self, path: str, form: dict | None = None, **arguments: object) -> tuple[int, str]:
        """A form, and the page that it leads to: what a person sees."""
        arguments = {"headers": OURS, **arguments}
        async with self.http.post(self.where + path, data=form or {}, allow_redirects=False, **arguments) as response:
            assert response.status == 303, await response.text()
            where = URL(self.where).join(URL(response.headers["Location"], encoded=True))
        async with self.http.get(where, allow_redirects=False, **arguments) as response:
            return response.status, await response.text()

    async def sign_in(self, token: str = TOKEN) -> int:
        status, _ = await self.post("login", {"token": token})
        return status

    async def call(self, method: str, path: str, body: object = None, *, token: str | None = TOKEN, **headers: str):
        """The API. (status, headers, parsed JSON)."""
        sent = {**headers, **({"Authorization": f"Bearer {token}"} if token else {})}
        async with self.http.request(method, f"{self.where}v1{path}", json=body, headers=sent) as response:
            assert response.content_type in ("application/json", "application/problem+json"), await response.text()
            return response.status, response.headers, await response.json(content_type=None)


@asynccontextmanager
async def visiting(url: str, *, environment: Mapping[str, str] | None = None, **settings: object) -> AsyncIterator[Visit]:
    """A console that accepts TOKEN, and a browser with cookies that is not signed in. environment: settings of CRMs."""
    captured = Environment({"database_url": url, **(environment or {})})
    configuration = Configuration(captured.read(Settings), captured)
    given = {"console_listen": "127.0.0.1:0", "console_token": TOKEN, **settings}
    asked = ConsoleSettings(**{name: value for name, value in given.items() if value is not None})
    async with running_console(configuration, asked) as listening:
        if listening.startswith("unix:"):
            connector: aiohttp.BaseConnector = aiohttp.UnixConnector(listening.removeprefix("unix:"))
            where = f"http://localhost{asked.console_base_path}/"
        else:
            connector, where = aiohttp.TCPConnector(), listening
        jar = aiohttp.CookieJar(unsafe=True)  # for an address without a name
        async with aiohttp.ClientSession(connector=connector, cookie_jar=jar) as http:
            yield Visit(where, http)


def port_of(visit: Visit) -> int:
    return urlsplit(visit.where).port or 80
