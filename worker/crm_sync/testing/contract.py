"""The contract of a client as pytest tests: what its author fills in, and all checks.

    class TestContract(ClientContract):
        crm = crm
        fields = {"name": "Ada"}

        def sandbox(self):
            return PipedriveSandbox()

        def settings(self, url):
            return {"PIPEDRIVE_API_TOKEN": TOKEN, "PIPEDRIVE_URL": url}

        def records(self, sandbox):
            return [Record(str(number), one["email"], one) for number, one in sandbox.persons.items()]

Each check has a fresh sandbox on loopback, and the account that the package registers. No check depends on timing.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from crm_sync.core.remote_schema import RemoteSchema, SentField
from crm_sync.core.values import Kind, Shape
from crm_sync.crm.limiter import UNLIMITED
from crm_sync.crm.rehearsal import rehearse
from crm_sync.environment import Environment
from crm_sync.errors import ConfigurationError, LaneError, RefusedError
from crm_sync.sandbox.server import Answer, Fault
from crm_sync.testing.base import Bench, contact, require
from crm_sync.testing.capabilities import CapabilityChecks
from crm_sync.testing.matching import MatchingChecks
from crm_sync.testing.tokens import TokenDesk

MANY = 8  # deliveries at a time


class ClientContract(MatchingChecks, CapabilityChecks):
    """All checks. closed_within_s: how long a connection that the client has closed may stay open."""

    closed_within_s: float = 10.0

    def tokens(self, sandbox: Any) -> TokenDesk | None:
        """The token desk where the client logs in; None for clients without tokens."""
        return None

    # The account.

    def test_without_settings_there_is_no_account(self) -> None:
        with Environment({}).in_force():
            account = self.crm.read_account()
        require(account is None, "without a setting there is an account: it has to be None, so that there is no lane")

    def test_its_settings_begin_with_its_name(self) -> None:
        names = [*(self.crm.settings.model_fields if self.crm.settings else ())]
        odd = [name.upper() for name in names if not name.startswith(f"{self.crm.name.lower()}_")]
        require(not odd, f"{', '.join(odd)}: the settings of {self.crm.name} begin with {self.crm.name.upper()}_")

    def test_its_default_fields_are_those_of_its_account(self) -> None:
        account = self.account("http://127.0.0.1:1")
        same = self.crm.default_fields is None or dict(self.crm.default_fields) == dict(account.default_fields)
        require(same, "the default fields of the Crm are not those of its account")

    def test_its_check_says_something_and_changes_nothing(self) -> None:
        async def check(bench: Bench) -> None:
            said = await bench.client.check()
            require(said.strip(), "check said nothing")
            require(not self.records(bench.sandbox), "check made a record")

        self.run(check)

    def test_its_check_refuses_what_is_refused(self) -> None:
        async def check(bench: Bench) -> None:
            bench.sandbox.standing_faults.append(Fault(matches=lambda _: True, answer=Answer(401, {"message": "Unauthorized"})))
            try:
                said = await bench.client.check()
            except RefusedError:
                return
            raise AssertionError(f"check says {said!r} of a key that is refused: it has to raise RefusedError")

        self.run(check)

    def test_it_closes_its_connections(self) -> None:
        async def whole() -> None:
            async with self.sandbox() as sandbox:
                async with self.account(sandbox.url).open(UNLIMITED) as client:
                    await client.deliver([self.person("ada@example.com", "Ada")])
                try:
                    async with asyncio.timeout(self.closed_within_s):
                        while sandbox.connections:  # noqa: ASYNC110 (aiohttp's server has no event for it)
                            await asyncio.sleep(0.001)
                except TimeoutError:
                    raise AssertionError(f"{sandbox.connections} connections are open after the client was closed") from None

        asyncio.run(whole())

    def test_it_can_be_previewed_and_sends_nothing(self) -> None:
        async def check(bench: Bench) -> None:
            if bench.account.witnessed is None:
                return
            found = await rehearse(bench.account, self.person("ada@example.com", "Ada"))
            require(not bench.sandbox.request_count, "a preview reached the CRM")
            require(found.first or any(way.requests for way in found.then), "a preview shows no request")

        self.run(check)

    # The schema.

    def test_its_schema_has_the_fields_and_no_others(self) -> None:
        async def check(bench: Bench) -> None:
            schema = await bench.client.schema()
            if schema is None:
                return
            require(isinstance(schema, RemoteSchema), f"schema said {schema!r}, which is no RemoteSchema")
            words = [SentField(name, "text", Shape(Kind.TEXT)) for name, value in self.fields.items() if isinstance(value, str)]
            require(not (odd := schema.misfits(words)), f"the schema has no place for the fields of the test: {odd}")
            if schema.others is None:
                missing = schema.misfits([SentField("no_such_field", "text", Shape(Kind.TEXT))])
                require(missing and missing[0].missing, "a field that does not exist is in the schema")

        self.run(check)

    def test_its_schema_may_be_answered_oddly(self) -> None:
        async def check(bench: Bench) -> None:
            await bench.client.schema()  # it is logged in after this, so that what follows is about the schema
            await _answered_oddly(bench, "schema", bench.client.schema)

        self.run(check)

    # Whose account it is.

    def test_its_account_has_a_name_that_stays_the_same(self) -> None:
        async def check(bench: Bench) -> None:
            names: list[Any] = [await bench.client.account() for _ in range(2)]
            require(names[0] is None or (isinstance(names[0], str) and names[0].strip()), f"account said {names[0]!r}, no name")
            require(names[0] == names[1], f"account said {names[0]!r}, and then {names[1]!r}")
            require(not self.records(bench.sandbox), "account made a record")

        self.run(check)

    def test_its_account_may_be_answered_oddly(self) -> None:
        async def check(bench: Bench) -> None:
            await bench.client.account()
            await _answered_oddly(bench, "account", bench.client.account)

        self.run(check)

    # Tokens.

    def test_one_token_serves_all_and_is_renewed_once_for_all(self) -> None:
        async def check(bench: Bench) -> None:
            desk = self.tokens(bench.sandbox)
            if desk is None:
                return
            for logins in (1, 2):
                people = [self.person(f"person{number}@example.com", "Ada", number=number) for number in range(MANY)]
                entries = await asyncio.gather(*(bench.deliver([one]) for one in people))
                for one, [entry] in zip(people, entries, strict=True):
                    require(isinstance(entry, tuple), f"a contact was not delivered with a token that was revoked: {entry!r}")
                    self.require_true(bench.sandbox, one, entry)
                require(desk.logins == logins, f"{MANY} deliveries at a time made {desk.logins} logins, and {logins} are enough")
                desk.revoke()

        self.run(check)

    def test_a_login_that_is_refused_is_everybodys_and_tried_once(self) -> None:
        async def check(bench: Bench) -> None:
            desk = self.tokens(bench.sandbox)
            if desk is None:
                return
            desk.credentials = {"nobody": "is let in"}
            people = [contact(f"person{number}@example.com", self.fields, number=number) for number in range(MANY)]
            for [entry] in await asyncio.gather(*(bench.deliver([one]) for one in people)):
                require(isinstance(entry, RefusedError), f"a refused login has to be a RefusedError, and is {entry!r}")
            require(desk.logins == 1, f"{MANY} deliveries at a time tried a refused login {desk.logins} times")

        self.run(check)

    def test_a_missing_setting_is_named(self) -> None:
        """Or there is no account without it, or it has a default."""
        settings = self.settings("http://127.0.0.1:1")
        for name in settings:
            with Environment({other.lower(): value for other, value in settings.items() if other != name}).in_force():
                try:
                    self.crm.read_account()
                except ConfigurationError as error:
                    require(name in str(error), f"without {name}, what is told does not name it: {error}")


async def _answered_oddly(bench: Bench, method: str, ask: Callable[[], Awaitable[object]]) -> None:
    page = Answer(200, b"<html>Sign in</html>", {"Content-Type": "text/html"})
    for answer in (page, Answer(200, {}), Answer(200, []), Answer(200, {"data": [None, 7, {"name": None}]})):
        bench.sandbox.standing_faults[:] = [Fault(matches=lambda _: True, answer=answer)]
        try:
            await ask()
        except LaneError:
            continue
        except Exception as error:
            raise AssertionError(f"{method} raised {type(error).__name__} ({error}), which is no LaneError") from error
