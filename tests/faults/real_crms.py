"""A daemon with the real clients of real accounts, against the sandboxes, and the promise as seen there."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import asyncpg
import pytest

from crm_sync.configuration import load
from crm_sync.core.outcome import Contact, Deletion
from crm_sync.core.waits import USUAL, Waits
from crm_sync.crm import account as accounts
from crm_sync.crm.account import Account
from crm_sync.crm.client import Client, Entry, Found
from crm_sync.crm.http import Http
from crm_sync.crm.limiter import Limiter
from crm_sync.daemon.daemon import Daemon
from crm_sync.sandbox.__main__ import UNLIMITED
from crm_sync.sandbox.comparison import Record, record
from crm_sync.sandbox.process import CRMS, settings
from crm_sync.sandbox.server import Sandbox
from tests.harness import TIMEOUT_S, having, until
from tests.roles import as_worker

PEOPLE = (
    "INSERT INTO contacts (email, first_name, {crm}_sync_status) "
    "SELECT n || '.person@example.com', 'Ada', 'Queued' FROM generate_series(1, $1::integer) AS n"
)


class Watched(Client):
    """A real client that records the contacts it was given, in order, request by request.

    began, ended: of each request, as numbers of one row of events.
    """

    def __init__(self, client: Client) -> None:
        self.batch_limit = client.batch_limit
        self.concurrency = client.concurrency
        self.keeps_records = client.keeps_records
        self.leaves_trail = client.leaves_trail
        self.delete_limit = client.delete_limit
        self.without_address = client.without_address
        self.requests: list[list[Contact]] = []
        self.began: list[int] = []
        self.ended: dict[int, int] = {}
        self.in_flight = 0
        self.most_in_flight = 0
        self._client = client

    async def deliver(self, contacts: Sequence[Contact]) -> Sequence[Entry]:
        number = len(self.requests)
        self.requests.append(list(contacts))
        self.began.append(len(self.began) + len(self.ended))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self._client.deliver(contacts)
        finally:
            self.ended[number] = len(self.began) + len(self.ended)
            self.in_flight -= 1

    async def find(self, emails: Sequence[str]) -> Sequence[Found]:
        return await self._client.find(emails)

    async def delete(self, deletions: Sequence[Deletion]) -> Sequence[Entry]:
        return await self._client.delete(deletions)

    async def check(self) -> str:
        return await self._client.check()

    def key(self, contact: Contact) -> str | None:
        return self._client.key(contact)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "if_empty":
            self._client.if_empty = value
        super().__setattr__(name, value)

    @property
    def sent(self) -> Counter[Any]:
        """How often each contact was sent, by id."""
        return Counter(contact.id for request in self.requests for contact in request)

    async def called(self, times: int) -> None:
        """Returns when it was called this often."""
        async with asyncio.timeout(TIMEOUT_S):
            while len(self.requests) < times:  # noqa: ASYNC110 (a client has no events)
                await asyncio.sleep(0.005)


@asynccontextmanager
async def sandboxes(*crms: str) -> AsyncIterator[dict[str, Sandbox]]:
    """Those of these CRMs, without their limits."""
    async with AsyncExitStack() as stack:
        yield {crm: await stack.enter_async_context(UNLIMITED[crm](0)) for crm in crms or CRMS}


@asynccontextmanager
async def delivering(
    url: str,
    monkeypatch: pytest.MonkeyPatch,
    urls: Mapping[str, str],
    *,
    timeout_s: float | None = None,
    waits: Waits = USUAL,
    **env: str,
) -> AsyncIterator[dict[str, Watched]]:
    """A worker that delivers to CRMs at these URLs. Yields the client of each CRM. Its failure fails the test.

    timeout_s: of a request, if it is to be shorter than in production.
    """
    for crm, crm_url in urls.items():
        env = settings(crm, crm_url) | env
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    if timeout_s is not None:
        monkeypatch.setattr(accounts, "Http", partial(_shell, timeout_s))
    clients: dict[str, Watched] = {}
    monkeypatch.setenv("DATABASE_URL", as_worker(url))
    watched = {crm: _watched(crm, account, clients) for crm in urls if (account := load().account(crm)) is not None}
    daemon = Daemon(load(lambda: having(watched)), waits=waits)
    task = asyncio.create_task(daemon.run())
    try:
        async with asyncio.timeout(TIMEOUT_S):
            while not (daemon.sentence.startswith("delivering") and clients.keys() == watched.keys()):
                assert not task.done(), "it ended at the start"
                await asyncio.sleep(0.005)
        yield clients
    finally:
        daemon.stop.set()
        async with asyncio.timeout(TIMEOUT_S):
            await task


def _shell(shorter_s: float, base_url: str, headers: Mapping[str, str], *, timeout_s: float, **others: Any) -> Http:
    return Http(base_url, headers, timeout_s=min(timeout_s, shorter_s), **others)


def _watched(crm: str, account: Account, clients: dict[str, Watched]) -> Account:
    @asynccontextmanager
    async def open_client(limiter: Limiter) -> AsyncIterator[Client]:
        async with account.open(limiter) as client:
            clients[crm] = Watched(client)
            yield clients[crm]

    return Account(account.default_fields, open_client, account.windows, forms=account.forms)


def records(crm: str, sandbox: Sandbox) -> list[Record]:
    """What a CRM holds."""
    shown = sandbox.table("contacts") or ()
    return [record(crm, one if isinstance(one, dict) else {name: getattr(one, name) for name in one.__slots__}) for one in shown]


def remote_id(crm: str) -> str:
    """The column with the id in a CRM."""
    return "n8n_workflow_id" if crm == "n8n" else f"{crm}_contact_id"


def complete(*crms: str) -> str:
    return " AND ".join(f"bool_and({crm}_sync_status = 'Complete')" for crm in crms) + " FROM contacts"


async def assert_unharmed(app: asyncpg.Connection, *crms: str) -> None:
    """What an outage may show in the table: every contact waits, or is being tried; none is marked or has lost an attempt."""
    for crm in crms:
        states = await app.fetch(f"SELECT DISTINCT {crm}_sync_status, {crm}_processing_error FROM contacts")
        assert {tuple(row) for row in states} <= {("Queued", None), ("Processing", None)}, crm
        assert await app.fetchval(f"SELECT max({crm}_attempts) FROM contacts") <= 1, crm


async def assert_delivered(app: asyncpg.Connection, crm: str, sandbox: Sandbox, *, attempts: int = 1) -> None:
    """Every contact is Complete after this many attempts, and the CRM holds it once and up to date, with the id in its row."""
    rows = await app.fetch(
        f"SELECT email, first_name, {crm}_sync_status AS sync, {crm}_processing_status AS processing, {crm}_claimed_by AS token, "
        f"{crm}_due_at AS due, {crm}_processing_error AS error, {crm}_attempts AS attempts, {remote_id(crm)} AS id FROM contacts"
    )
    there = records(crm, sandbox)
    assert len(there) == len({one.email for one in there}), f"{crm} has a record twice"
    by_address = {one.email: one for one in there}
    for row in rows:
        one = by_address[row["email"].strip().lower()]
        assert (row["sync"], row["processing"]) == ("Complete", "Complete")
        assert (one.first_name, one.id) == (row["first_name"], row["id"])
        assert row["token"] is row["due"] is row["error"] is None
        assert row["attempts"] <= attempts


async def until_none_in_hand(app: asyncpg.Connection, crms: Iterable[str]) -> None:
    """Returns when nothing is in flight and nothing is in line."""
    idle = " AND ".join(f"bool_and({crm}_claimed_by IS NULL AND {crm}_due_at IS NULL)" for crm in crms)
    await until(app, f"{idle} FROM contacts")
