"""What the author of a client provides, and the bench for each check: a fresh sandbox and a fresh client."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

from pydantic import SecretStr

from crm_sync.core.outcome import Contact, Deletion, Outcome, Unsent, Verdict
from crm_sync.core.retry import describe
from crm_sync.crm.account import Account
from crm_sync.crm.client import Client, Entry, Found, Held
from crm_sync.crm.connections import Connections
from crm_sync.crm.exchange import HARMLESS, Request, Response
from crm_sync.crm.http import REQUEST_TIMEOUT_S, SHORTEST_KEY
from crm_sync.crm.limiter import UNLIMITED
from crm_sync.crm.registry import Crm
from crm_sync.environment import Environment, read
from crm_sync.errors import BatchRefusedError, LaneError
from crm_sync.sandbox.server import Sandbox

MOST_AT_ONCE = 10  # contacts in the batch of a check, if the client takes that many
FLIPPED_AT = datetime(2026, 1, 31, 12, tzinfo=UTC)


class Record(NamedTuple):
    """What the fake CRM has about a person. fields: by the names of the mapping, as they are sent."""

    id: str | None
    email: str | None
    fields: Mapping[str, Any]


def require(holds: object, words: str) -> None:
    """Raises AssertionError with these words if it does not hold."""
    if not holds:
        raise AssertionError(words)


def contact(
    email: str = "ada@example.com",
    fields: Mapping[str, Any] | None = None,
    *,
    remote_id: str | None = None,
    number: int = 1,
) -> Contact:
    """A contact as a lane has claimed it."""
    return Contact(number, 1, 1, remote_id, email, FLIPPED_AT, dict(fields or {}))


class Bench:
    """A sandbox and a client connected to it. timeout_s: of a request; only over HTTP.

    Everything the client returns is checked against the general rules for answers, and searched for secrets.
    """

    def __init__(self, sandbox: Sandbox, client: Client, account: Account, secrets: set[str]) -> None:
        self.sandbox = sandbox
        self.client = client
        self.account = account
        self.secrets = secrets

    async def deliver(self, contacts: Sequence[Contact]) -> list[Entry]:
        """An entry for each; a raised LaneError stands for all."""
        return self._checked(await self._asked("deliver", self.client.deliver(contacts), len(contacts)), contacts)

    async def delete(self, deletions: Sequence[Deletion]) -> list[Entry]:
        people = [contact(one.email or "", remote_id=one.remote_id) for one in deletions]
        return self._checked(await self._asked("delete", self.client.delete(deletions), len(deletions)), people)

    async def find(self, emails: Sequence[str]) -> list[Found]:
        return await self._asked("find", self.client.find(emails), len(emails), Found)

    async def locate(self, contacts: Sequence[Contact]) -> list[Found]:
        return await self._asked("locate", self.client.locate(contacts), len(contacts), Found)

    async def read(self, contacts: Sequence[Contact], names: Sequence[str]) -> list[Held]:
        held = await self._asked("read", self.client.read(contacts, names), len(contacts), Held)
        said = [(one, entry) for one, entry in zip(contacts, held, strict=True) if isinstance(entry, Outcome | LaneError)]
        self._checked([entry for _, entry in said], [one for one, _ in said])
        return held

    async def settle(self, contacts: Sequence[Contact]) -> dict[Any, Entry]:
        """By the contacts' ids, as a lane does it: in batches, and contacts refused together again in halves."""
        size = self.client.batch_limit
        settled: dict[Any, Entry] = {}
        groups = [contacts[place : place + size] for place in range(0, len(contacts), size)]
        while groups:
            group = groups.pop(0)
            entries = await self.deliver(group)
            together = [one for one, entry in zip(group, entries, strict=True) if isinstance(entry, BatchRefusedError)]
            settled |= {one.id: entry for one, entry in zip(group, entries, strict=True)}
            if len(group) > 1 and together:
                middle = (len(together) + 1) // 2
                groups += [half for half in (together[:middle], together[middle:]) if half]
        return settled

    async def _asked(self, what: str, answer: Awaitable[Sequence[Any]], count: int, kinds: Any = Entry) -> list[Any]:
        try:
            entries = [*await answer]
        except LaneError as error:
            return [error] * count
        except Exception as error:
            raise AssertionError(
                f"{what} raised {type(error).__name__} ({error}), which is no LaneError: these contacts would be CLIENT_FAILED"
            ) from error
        require(len(entries) == count, f"{what} of {count} answered with {len(entries)} entries")
        odd = [entry for entry in entries if not isinstance(entry, kinds)]
        require(not odd, f"{what} answered with {odd[:1]}, which is no entry")
        return entries

    def _checked(self, entries: list[Entry], contacts: Sequence[Contact]) -> list[Entry]:
        for one, entry in zip(contacts, entries, strict=True):
            for text in _texts(entry):
                leaked = [secret for secret in self.secrets if secret in text]
                require(not leaked, "what the client says has a key in it: hide it by Http.hide, or leave the answer out")
            # In an outcome, the lane masks the values of its own contact; in a LaneError nothing is masked.
            told = describe(one, entry) or "" if isinstance(entry, Outcome) else _texts(entry)[0]
            quoted = [word for word in _words(contacts) if word.lower() in told.lower()]
            require(not quoted, f"the answer about a contact quotes {quoted[:1]}: {told}")
            if isinstance(entry, Outcome):
                require(entry.verdict in Verdict, f"{entry} has no verdict")
                require(entry.verdict is Verdict.DELIVERED or entry.code, f"{entry} has no code")
                require(entry.remote_id is None or isinstance(entry.remote_id, str), f"the id in {entry} is no text")
        return entries


def _texts(entry: Entry) -> list[str]:
    match entry:
        case Outcome():
            return [entry.reason or "", entry.remote_id or ""]
        case Unsent():
            return [entry.reason or ""]
    return [str(entry), repr(entry.__cause__ or "")]


def _words(contacts: Sequence[Contact]) -> list[str]:
    """Texts that identify a person."""
    values = [value for one in contacts for value in (one.email, *one.fields.values()) if isinstance(value, str)]
    return [value.strip() for value in values if len(value.strip()) >= SHORTEST_KEY]


class ContractBase:
    """What the author fills in.

    crm: what the package registers. fields: of a contact, by the CRM's names, with at least one text. sent: to the CRM. refused:
    the values that the fake CRM refuses in one contact as the vendor does, `email` or names of fields; None if it refuses a
    special text.
    """

    crm: Crm
    fields: Mapping[str, Any]
    refused: Mapping[str, Any] | None = None

    def sandbox(self) -> Sandbox:
        """A fresh fake CRM, not started."""
        raise NotImplementedError

    def settings(self, url: str) -> Mapping[str, str]:
        """With which a worker reaches it, by their names in the environment."""
        raise NotImplementedError

    def records(self, sandbox: Any) -> Sequence[Record]:
        """Everything the fake CRM has."""
        raise NotImplementedError

    # For the checks.

    @property
    def text_field(self) -> str:
        return next(name for name, value in self.fields.items() if isinstance(value, str))

    def person(self, email: str, text: str, *, remote_id: str | None = None, number: int = 1) -> Contact:
        """A contact with this value in its text field."""
        return contact(email, {**self.fields, self.text_field: text}, remote_id=remote_id, number=number)

    def people(self, count: int) -> list[Contact]:
        return [self.person(f"person{number}@example.com", f"Lovelace {number}", number=number) for number in range(1, count + 1)]

    def of(self, sandbox: Sandbox, email: str) -> list[Record]:
        return [record for record in self.records(sandbox) if (record.email or "").lower() == email.lower()]

    def has(self, sandbox: Sandbox, one: Contact) -> bool:
        """Whether the fake CRM has this contact as it was sent."""
        name = self.text_field
        return any(record.fields.get(name) == one.fields[name] for record in self.of(sandbox, one.email or ""))

    def require_true(self, sandbox: Sandbox, one: Contact, entry: Entry) -> None:
        """A contact reported as delivered is in the CRM, under the reported id."""
        if not isinstance(entry, Outcome) or entry.verdict is not Verdict.DELIVERED:
            return
        require(self.has(sandbox, one), "a contact is told as delivered, and the CRM has nothing of it")
        ids = [record.id for record in self.of(sandbox, one.email or "")]
        require(entry.remote_id in (None, *ids), f"the id {entry.remote_id!r} is told, and the record has {ids}")

    def environment(self, url: str) -> Environment:
        return Environment({name.lower(): value for name, value in self.settings(url).items()})

    def account(self, url: str) -> Account:
        with self.environment(url).in_force():
            account = self.crm.read_account()
        if account is None:
            raise AssertionError("with the settings of the test there is no account: settings() lacks what it needs")
        return account

    def keys(self, url: str) -> set[str]:
        """The values of its secret settings."""
        if self.crm.settings is None:
            return {value for value in self.settings(url).values() if url not in value and len(value) >= SHORTEST_KEY}
        with self.environment(url).in_force():
            values = [getattr(read(self.crm.settings), name) for name in self.crm.settings.model_fields]
        keys = {value.get_secret_value() for value in values if isinstance(value, SecretStr)}
        return {key for key in keys if len(key) >= SHORTEST_KEY}

    @asynccontextmanager
    async def bench(self, *, timeout_s: float = REQUEST_TIMEOUT_S) -> AsyncIterator[Bench]:
        async with self.sandbox() as sandbox:
            account, secrets = self.account(sandbox.url), self.keys(sandbox.url)
            if account.witnessed is None:
                async with account.open(UNLIMITED) as client:
                    yield Bench(sandbox, client, account, secrets)
                return
            connections = Connections(timeout_s)
            await connections.open()

            async def wire(request: Request) -> Response:
                """Sends it as usual, and records the keys in it, including tokens."""
                values = [value for name, value in request.headers.items() if name.lower() not in HARMLESS]
                secrets.update(part for value in values for part in value.split() if len(part) >= SHORTEST_KEY)
                return await connections.send(request)

            try:
                async with account.witnessed(None, wire)(UNLIMITED) as client:
                    yield Bench(sandbox, client, account, secrets)
            finally:
                await connections.close()

    def run(self, check: Callable[[Bench], Awaitable[None]], *, timeout_s: float = REQUEST_TIMEOUT_S) -> None:
        """Runs one check on its own bench."""

        async def whole() -> None:
            async with self.bench(timeout_s=timeout_s) as bench:
                await check(bench)

        asyncio.run(whole())


def is_json(value: object) -> bool:
    """Whether it can be sent as JSON."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True
