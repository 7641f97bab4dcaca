"""A daemon in the test's own process, with a CRM scripted by the test."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from crm_sync.configuration import Configuration
from crm_sync.core.outcome import Contact, Outcome
from crm_sync.core.waits import USUAL, Waits
from crm_sync.crm.account import Account
from crm_sync.crm.client import Client
from crm_sync.crm.limiter import UNLIMITED, Limiter
from crm_sync.crm.registry import Crm
from crm_sync.daemon.daemon import Daemon
from crm_sync.environment import Environment
from crm_sync.postgres import locks
from crm_sync.settings import Settings
from tests.roles import as_worker

TIMEOUT_S = 60.0  # generous, for a busy machine


class ScriptedCrm(Client):
    """A client whose answers are scripted by the test. It records what it received, in order, and what was in flight at once."""

    def __init__(self, *, batch_limit: int = 1, concurrency: int = 16) -> None:
        self.batch_limit = batch_limit
        self.concurrency = concurrency
        self.requests: list[list[Contact]] = []
        self.in_flight: set[Any] = set()
        self.twice_in_flight: list[Any] = []
        self.store: dict[Any, dict[str, Any]] = {}
        self.answer: Callable[[Contact], Outcome] = lambda contact: Outcome.delivered(f"crm-{contact.id}")
        self.gate = asyncio.Event()
        self.gate.set()
        self.arrived = asyncio.Condition()
        self.limiter: Limiter = UNLIMITED

    async def deliver(self, contacts: Sequence[Contact]) -> Sequence[Outcome]:
        await self.limiter.slot()
        self.requests.append(list(contacts))
        self.twice_in_flight += [contact.id for contact in contacts if contact.id in self.in_flight]
        self.in_flight |= {contact.id for contact in contacts}
        async with self.arrived:
            self.arrived.notify_all()
        try:
            await self.gate.wait()
            outcomes = [self.answer(contact) for contact in contacts]
        finally:
            self.in_flight -= {contact.id for contact in contacts}
        for contact in contacts:
            self.store[contact.id] = {"email": contact.email, **contact.fields}
        return outcomes

    async def check(self) -> str:
        return "scripted"

    async def reached(self, requests: int) -> None:
        """Returns when this many requests have arrived."""
        async with asyncio.timeout(TIMEOUT_S), self.arrived:
            await self.arrived.wait_for(lambda: len(self.requests) >= requests)


def account(crm: Client) -> Account:
    @asynccontextmanager
    async def open_client(limiter: Limiter) -> AsyncIterator[Client]:
        if isinstance(crm, ScriptedCrm):
            crm.limiter = limiter
        yield crm

    return Account({"FIRSTNAME": "first_name"}, open_client)


def having(accounts: Mapping[str, Account]) -> dict[str, Crm]:
    """Only the CRMs of these accounts exist."""
    return {name: Crm(name, lambda account=account: account) for name, account in accounts.items()}


def configured(accounts: Mapping[str, Account], **settings: Any) -> Configuration:
    """With these accounts and settings; lanes read theirs from the environment."""
    return Configuration(Settings(**settings), Environment.capture(), lambda: having(accounts))


def daemon_for(url: str, crm: Client, *, lane: str = "brevo", waits: Waits = USUAL, **settings: Any) -> Daemon:
    """A daemon with one lane that is not running yet."""
    return Daemon(configured({lane: account(crm)}, database_url=as_worker(url), **settings), waits=waits)


@asynccontextmanager
async def driven(daemon: Daemon) -> AsyncIterator[asyncio.Task[None]]:
    """Runs it, and drains it at the end; its failure fails the test."""
    task = asyncio.create_task(daemon.run())
    try:
        yield task
    finally:
        daemon.stop.set()
        async with asyncio.timeout(TIMEOUT_S):
            await task


@asynccontextmanager
async def working(daemon: Daemon) -> AsyncIterator[Daemon]:
    """Like `driven`, and it must not end by itself."""
    async with driven(daemon) as task:
        yield daemon
        assert not task.done(), task.exception()


@asynccontextmanager
async def running(url: str, crm: Client, **settings: Any) -> AsyncIterator[Daemon]:
    """Runs a daemon with one lane, Brevo's by default, and drains it at the end; its failure fails the test."""
    daemon = daemon_for(url, crm, **settings)
    async with driven(daemon):
        yield daemon


async def until(app: asyncpg.Connection, condition: str, *arguments: Any) -> None:
    """Returns when a condition on the contacts table holds: a query that yields true. Fails after TIMEOUT_S."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            while not await app.fetchval(f"SELECT {condition}", *arguments):  # noqa: ASYNC110 (the table has no events)
                await asyncio.sleep(0.01)
    except TimeoutError:
        states = await app.fetch(
            "SELECT brevo_sync_status, brevo_processing_status, brevo_processing_error, brevo_attempts, brevo_claimed_by, "
            "brevo_due_at - clock_timestamp() AS due_in, count(*) FROM contacts GROUP BY 1, 2, 3, 4, 5, 6 LIMIT 20"
        )
        raise AssertionError(f"never came true: {condition}; the table: {[tuple(row) for row in states]}") from None


async def until_asleep(app: asyncpg.Connection) -> None:
    """Returns when the keeper of Brevo's lane has armed the bell: it looked, found nothing, and sleeps."""
    armed = (
        f"EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND classid = {locks.BELL} AND mode = 'ExclusiveLock' "
        "AND objid = (SELECT id FROM crm_sync.lanes WHERE crm = 'brevo') "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))"
    )
    await until(app, armed)


ALL_COMPLETE = "bool_and(brevo_sync_status = 'Complete') FROM contacts"
SESSIONS = "FROM pg_stat_activity WHERE application_name = 'crm-sync session' AND datname = current_database()"
