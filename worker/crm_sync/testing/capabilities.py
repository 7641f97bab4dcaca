"""Checks of what a client need not be able to do, and says that it does: to clear fields, to take consent, to be read."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from crm_sync.core.clearing import sent
from crm_sync.core.identity import fold
from crm_sync.core.outcome import Contact, Outcome, is_empty
from crm_sync.core.remote_schema import RemoteField
from crm_sync.core.values import Member, Shape, member_writer
from crm_sync.crm import client as crm_client
from crm_sync.crm.client import Client
from crm_sync.errors import UnsendableError
from crm_sync.sandbox.server import Answer, Fault
from crm_sync.testing.answering import AnswerChecks
from crm_sync.testing.base import MOST_AT_ONCE, Bench, contact, is_json, require
from crm_sync.testing.delivering import VALUES, is_delivered
from crm_sync.testing.failing import Nth
from crm_sync.testing.odd import MANGLED, REPLACED


class CapabilityChecks(AnswerChecks):
    """opts_in: for each field of consent, a value as it is read from the row that opts somebody in."""

    opts_in: Mapping[str, Any] = MappingProxyType({})

    # To clear: `Forms(clears=True)`.

    def test_what_is_to_be_cleared_is_cleared_and_nothing_else(self) -> None:
        async def check(bench: Bench) -> None:
            remote_id = await self.put(bench, self.person("ada@example.com", "Ada"))
            if not bench.account.forms.clears or remote_id is None:
                return
            name = self.text_field
            [entry] = await bench.deliver([self.cleared(remote_id)])
            require(is_delivered(entry), f"a contact with a field to be cleared was not delivered: {entry}")
            [record] = self.of(bench.sandbox, "ada@example.com")
            told = isinstance(entry, Outcome) and name in entry.left
            require(is_empty(record.fields.get(name)) or told, f"{name} was to be cleared, is told as cleared, and has a value")
            others = {other: record.fields.get(other) for other in self.fields if other != name}
            require(all(not is_empty(value) for value in others.values()), f"other fields were cleared, too: {others}")

        self.run(check)

    def cleared(self, remote_id: str) -> Contact:
        """A contact whose text field was sent before, and is empty now."""
        fields = {**self.fields, self.text_field: None}
        one = contact("ada@example.com", fields, remote_id=remote_id)
        return one._replace(sent=sent(1, fields, one.filled, {self.text_field: 1}))

    # Consent, lists and tags: `Forms(members=...)`.

    def test_nobody_is_opted_in_unless_the_mapping_says_so(self) -> None:
        forms = self.account("http://127.0.0.1:1").forms
        consent = {name: member for name, member in forms.members.items() if member.opt_outs is not None}
        require({*consent} == {*self.opts_in}, f"opts_in has to name the fields of consent: {', '.join(consent) or 'none'}")
        for name, member in consent.items():
            value = self.opts_in[name]
            require(
                not member.opt_outs or not member.opt_outs(member.form(value)), f"{name}: {value!r} opts in without subscribe"
            )

    def test_a_value_that_is_none_for_a_member_is_that_contacts(self) -> None:
        for name, member in self.account("http://127.0.0.1:1").forms.members.items():
            for kind, value in VALUES.items():
                for shape, read in ((Shape(kind), value), (Shape(kind, is_list=True), [value])):
                    self.require_sendable(name, member, shape, read)

    def require_sendable(self, name: str, member: Member, shape: Shape, read: Any) -> None:
        for subscribe in (False, True):
            try:
                written = member_writer(shape, member, subscribe=subscribe)(read)
            except UnsendableError:
                continue
            except Exception as error:
                raise AssertionError(f"{name} of {shape} raised {type(error).__name__}, which is no UnsendableError") from error
            require(is_json(written), f"{name} of {shape} becomes what JSON cannot hold: {written!r}")

    def test_opting_in_is_delivered(self) -> None:
        async def check(bench: Bench) -> None:
            for name, value in self.opts_in.items():
                member = bench.account.forms.members[name]
                one = contact("ada@example.com", {**self.fields, name: member.form(value)})
                [entry] = await bench.deliver([one])
                require(is_delivered(entry), f"a contact with {name} was not delivered: {entry}")

        self.run(check)

    # To be read: `read` and `same`.

    def test_a_record_is_read_as_it_was_sent(self) -> None:
        async def check(bench: Bench) -> None:
            if not self.reads(bench.client):
                return
            people = self.people(min(bench.client.read_limit, bench.client.batch_limit, MOST_AT_ONCE))
            known = [
                one._replace(remote_id=getattr(entry, "remote_id", None)) for one, entry in await self.delivered(bench, people)
            ]
            schema = await bench.client.schema()
            for asked in (known, people):
                for one, held in zip(asked, await bench.read(asked, [*self.fields]), strict=True):
                    record = _read(held)
                    require(fold(one.email or "") in record.addresses, "a record was read without its address, folded")
                    for name, value in one.fields.items():
                        field = None if schema is None else schema.fields.get(schema.spelled(name))
                        same = bench.client.same(field, name, value, record.values.get(name))
                        require(same is not False, f"{name} was just delivered, and differs: {record.values.get(name)!r}")

        self.run(check)

    def test_another_value_is_told_from_what_was_sent(self) -> None:
        async def check(bench: Bench) -> None:
            remote_id = await self.put(bench, self.person("ada@example.com", "Augusta"))
            if not self.reads(bench.client) or remote_id is None:
                return
            name, one = self.text_field, self.person("ada@example.com", "Ada", remote_id=remote_id)
            [held] = await bench.read([one], [name])
            record = _read(held)
            for other in (record.values.get(name), None, ""):
                require(
                    bench.client.same(await self.field(bench, name), name, "Ada", other) is False, f"{other!r} passes for 'Ada'"
                )

        self.run(check)

    def test_nobody_is_read_for_a_contact_that_is_not_there(self) -> None:
        async def check(bench: Bench) -> None:
            if not self.reads(bench.client):
                return
            await bench.deliver([self.person("grace@example.com", "Grace")])
            [held] = await bench.read([self.person("ada@example.com", "Ada")], [*self.fields])
            require(held is None, f"a contact that is not there was read as {held!r}")

        self.run(check)

    def test_what_was_cleared_is_read_as_empty(self) -> None:
        async def check(bench: Bench) -> None:
            remote_id = await self.put(bench, self.person("ada@example.com", "Ada"))
            if not bench.account.forms.clears or not self.reads(bench.client) or remote_id is None:
                return
            one, name = self.cleared(remote_id), self.text_field
            [entry] = await bench.deliver([one])
            [held] = await bench.read([one], [name])
            record = _read(held)
            told = isinstance(entry, Outcome) and name in entry.left
            require(is_empty(record.values.get(name)) or told, f"{name} was cleared, and is read as {record.values.get(name)!r}")

        self.run(check)

    def test_what_is_read_beside_fields_is_a_member(self) -> None:
        async def check(bench: Bench) -> None:
            strangers = [name for name in bench.client.read_members if bench.account.forms.member(name) is None]
            require(not strangers, f"read_members has {', '.join(strangers)}, which the forms do not have")

        self.run(check)

    def test_a_record_of_which_the_answer_is_odd(self) -> None:
        async def strike(bench: Bench, fault: Fault) -> None:
            remote_id = await self.put(bench, self.person("ada@example.com", "Ada"))
            if self.reads(bench.client):
                bench.sandbox.next_faults.append(fault)
                await bench.read([self.person("ada@example.com", "Ada", remote_id=remote_id)], [*self.fields])

        for name in REPLACED:
            self.run(lambda bench, name=name: strike(bench, Fault(matches=Nth(0), answer=REPLACED[name](Answer(200)))))  # type: ignore[misc]
        for name in MANGLED:
            self.run(lambda bench, name=name: strike(bench, Fault(matches=Nth(0), mangles=MANGLED[name])))  # type: ignore[misc]

    def reads(self, client: Client) -> bool:
        return type(client).read is not Client.read

    async def field(self, bench: Bench, name: str) -> RemoteField | None:
        schema = await bench.client.schema()
        return None if schema is None else schema.fields.get(schema.spelled(name))

    async def delivered(self, bench: Bench, people: Sequence[Contact]) -> list[tuple[Contact, Any]]:
        return [*zip(people, await bench.deliver(people), strict=True)]


def _read(held: crm_client.Held) -> crm_client.Record:
    if not isinstance(held, crm_client.Record):
        raise AssertionError(f"a contact that is there was read as {held!r}")  # noqa: TRY004 (a check that fails)
    return held
