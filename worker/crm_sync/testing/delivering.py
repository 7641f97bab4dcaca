"""Checks: what a client delivers, and what it reports."""

from collections.abc import Mapping
from typing import Any

from crm_sync.core.outcome import Contact, Deletion, Outcome, Verdict
from crm_sync.core.values import Kind, Shape, writer
from crm_sync.crm.client import Client, Entry
from crm_sync.errors import UnsendableError
from crm_sync.testing.base import FLIPPED_AT, MOST_AT_ONCE, Bench, ContractBase, contact, is_json, require

# As each kind is read from a row.
VALUES: Mapping[Kind, Any] = {
    Kind.TEXT: "Ünï 🌻 'quoted' \"twice\" <b>&amp; 100%41 \\ ; , \u2028 end",
    Kind.BOOLEAN: False,
    Kind.SMALL: 0,
    Kind.BIG: 2**63 - 1,
    Kind.NUMERIC: "12345678901234567890.50",
    Kind.REAL: 4.699999809265137,
    Kind.DOUBLE: 0.1,
    Kind.DATE: "2026-02-28",
    Kind.MOMENT: "2026-01-31T19:04:05.678901+00:00",
    Kind.LOCAL_MOMENT: "2026-01-31T19:04:05",
    Kind.JSON: '{"a": [1, null, {"b": "c"}]}',
    Kind.INTERVAL: "P1DT2H",
    Kind.OTHER: "(1,2)",
}
LONG_CHARACTERS = 5000


def is_delivered(entry: Entry) -> bool:
    return isinstance(entry, Outcome) and entry.verdict is Verdict.DELIVERED


class DeliveryChecks(ContractBase):
    """With a CRM that works."""

    def test_a_batch_is_delivered(self) -> None:
        async def check(bench: Bench) -> None:
            people = self.people(min(bench.client.batch_limit, MOST_AT_ONCE))
            entries = await bench.deliver(people)
            for one, entry in zip(people, entries, strict=True):
                require(is_delivered(entry), f"{one.email} was not delivered: {entry}")
                self.require_true(bench.sandbox, one, entry)
                require(not bench.client.keeps_records or (isinstance(entry, Outcome) and entry.remote_id), "no id is told")

        self.run(check)

    def test_a_contact_that_is_there_is_changed_and_not_made_again(self) -> None:
        async def check(bench: Bench) -> None:
            [first] = await bench.deliver([self.person("ada@example.com", "Ada")])
            [again] = await bench.deliver([self.person("ADA@example.com", "Augusta")])
            require(is_delivered(again), f"the same contact again was not delivered: {again}")
            if not bench.client.keeps_records:
                return
            records = self.of(bench.sandbox, "ada@example.com")
            require(len(records) == 1, f"there are {len(records)} records of one address: deliver has to be an upsert")
            require(records[0].fields[self.text_field] == "Augusta", "the later value is not there")
            known = isinstance(first, Outcome) and isinstance(again, Outcome) and first.remote_id == again.remote_id
            require(known, f"one record has two ids: {first}, {again}")

        self.run(check)

    def test_a_changed_address_changes_the_record_whose_id_is_known(self) -> None:
        async def check(bench: Bench) -> None:
            remote_id = await self.put(bench, self.person("ada@example.com", "Ada"))
            if remote_id is None:
                return
            [entry] = await bench.deliver([self.person("augusta@example.com", "Augusta", remote_id=remote_id)])
            require(is_delivered(entry), f"the contact with another address was not delivered: {entry}")
            ids = [record.id for record in self.records(bench.sandbox)]
            require(ids == [remote_id], f"the record {remote_id} had to be changed, and there are now {ids}")
            require(self.of(bench.sandbox, "augusta@example.com"), "the record still has the old address")

        self.run(check)

    def test_a_contact_whose_record_was_deleted_in_the_crm_is_made_again(self) -> None:
        async def check(bench: Bench) -> None:
            remote_id = await self.put(bench, self.person("ada@example.com", "Ada"))
            if remote_id is None or not self.deletes(bench.client):
                return
            await bench.delete([self.deletion(remote_id)])
            one = self.person("ada@example.com", "Augusta", remote_id=remote_id)
            [entry] = await bench.deliver([one])
            require(is_delivered(entry), f"a contact whose record is gone was not delivered: {entry}")
            self.require_true(bench.sandbox, one, entry)

        self.run(check)

    def test_one_bad_contact_is_refused_alone(self) -> None:
        async def check(bench: Bench) -> None:
            people = self.people(min(bench.client.batch_limit, MOST_AT_ONCE) + 1)
            bad = people[len(people) // 2]
            if self.refused is None:
                bench.sandbox.refuse(bad.fields[self.text_field] + " is refused")
                bad = bad._replace(fields={**bad.fields, self.text_field: bad.fields[self.text_field] + " is refused"})
            else:
                fields = {name: value for name, value in self.refused.items() if name != "email"}
                bad = bad._replace(email=self.refused.get("email", bad.email), fields={**bad.fields, **fields})
            people[len(people) // 2] = bad
            for one in people:
                entry = (settled := await bench.settle(people))[one.id] if one is people[0] else settled[one.id]
                if one is not bad:
                    require(is_delivered(entry), f"a good contact next to a bad one was not delivered: {entry}")
            blamed = settled[bad.id]
            require(not is_delivered(blamed), "what the CRM refuses is told as delivered")
            # A BatchRefusedError for a single contact counts as that contact's, as in a lane.
            alone = isinstance(blamed, Outcome) or type(blamed).__name__ == "BatchRefusedError"
            require(alone, f"what is wrong with one contact is told as a fault of all: {blamed!r}")

        self.run(check)

    def test_every_kind_of_value_can_be_sent(self) -> None:
        async def check(bench: Bench) -> None:
            for kind, value in VALUES.items():
                for shape, read in ((Shape(kind), value), (Shape(kind, is_list=True), [value, None, value])):
                    await self.send_value(bench, shape, read)

        self.run(check)

    async def send_value(self, bench: Bench, shape: Shape, read: Any) -> None:
        form = writer(shape, bench.account.forms)
        try:
            value = form(read) if form else read
        except UnsendableError:
            return  # the contact fails with MAPPING_FAILED before the client gets it
        require(is_json(value), f"forms make of {shape} what is not JSON: {value!r}")
        one = contact("ada@example.com", {**self.fields, self.text_field: value})
        [entry] = await bench.deliver([one])
        if isinstance(value, str) and entry == Outcome.delivered(entry.remote_id if isinstance(entry, Outcome) else None):
            require(self.has(bench.sandbox, one), f"{value!r} was silently delivered as something else")

    def test_a_long_text_arrives_or_is_told(self) -> None:
        async def check(bench: Bench) -> None:
            one = self.person("ada@example.com", "x" * LONG_CHARACTERS)
            [entry] = await bench.deliver([one])
            if is_delivered(entry) and isinstance(entry, Outcome) and entry.code is None:
                require(
                    self.has(bench.sandbox, one), f"{LONG_CHARACTERS} characters were reported as delivered, but are not there"
                )

        self.run(check)

    def test_empty_fields_are_delivered(self) -> None:
        async def check(bench: Bench) -> None:
            empties: list[Any] = [None, "", [], " "]
            for empty in empties:
                [entry] = await bench.deliver([contact("ada@example.com", dict.fromkeys(self.fields, empty))])
                require(is_delivered(entry), f"a contact whose fields are all {empty!r} was not delivered: {entry}")

        self.run(check)

    # Deletions.

    def test_a_deleted_contact_is_deleted_once_and_again(self) -> None:
        async def check(bench: Bench) -> None:
            remote_id = await self.put(bench, self.person("ada@example.com", "Ada"))
            if not self.deletes(bench.client) or remote_id is None:
                return
            other = self.person("grace@example.com", "Grace", number=2)
            await bench.deliver([other])
            for times in ("a record", "one that is gone"):
                [entry] = await bench.delete([self.deletion(remote_id)])
                require(is_delivered(entry), f"the deletion of {times} is told as {entry}")
                require(not self.of(bench.sandbox, "ada@example.com"), "it is told as deleted, and is still there")
            require(self.has(bench.sandbox, other), "somebody else was deleted, too")

        self.run(check)

    def test_a_record_is_found_by_its_address(self) -> None:
        async def check(bench: Bench) -> None:
            remote_id = await self.put(bench, self.person("ada@example.com", "Ada"))
            if not self.deletes(bench.client) or type(bench.client).find is Client.find or remote_id is None:
                return
            for email, known in (("ada@example.com", remote_id), ("ADA@example.com", remote_id), ("da@example.com", None)):
                found = await bench.find([email])
                require(found == [known], f"a search for {email} found {found}, and the record is {known}")

        self.run(check)

    def deletes(self, client: Client) -> bool:
        return type(client).delete is not Client.delete

    def deletion(self, remote_id: str | None) -> Deletion:
        return Deletion("1", remote_id, "ada@example.com", erase=False, deleted_at=FLIPPED_AT)

    async def put(self, bench: Bench, one: Contact) -> str | None:
        """Delivers it. Returns its id, None for a CRM without ids."""
        [entry] = await bench.deliver([one])
        require(is_delivered(entry), f"a contact was not delivered: {entry}")
        return entry.remote_id if isinstance(entry, Outcome) and bench.client.keeps_records else None
