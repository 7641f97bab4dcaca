"""Checks of what says who a contact is: its address, and a key where the client has `matched_by`."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from crm_sync.core.outcome import Contact
from crm_sync.crm.client import Client
from crm_sync.testing.base import Bench, contact, require
from crm_sync.testing.delivering import DeliveryChecks, is_delivered


class MatchingChecks(DeliveryChecks):
    """matched: for each name of `Client.matched_by`, a value that says who a contact is."""

    matched: Mapping[str, Any] = MappingProxyType({})

    def test_a_record_is_located_as_a_delivery_finds_it(self) -> None:
        async def check(bench: Bench) -> None:
            one = self.keyed("ada@example.com")
            remote_id = await self.put(bench, one)
            if not self.locates(bench.client) or remote_id is None:
                return
            located = await bench.locate([self.as_matched(bench.client, one)])
            require(located == [remote_id], f"locate said {located} of a contact whose record is {remote_id}")
            stranger = [self.as_matched(bench.client, self.person("grace@example.com", "Grace", number=2))]
            require(await bench.locate(stranger) == [None], "locate found a record for a contact that has none")
            require(len(self.records(bench.sandbox)) == 1, "locate made a record: it must change nothing")

        self.run(check)

    def test_a_record_is_located_by_each_key_whatever_the_address_is(self) -> None:
        async def check(bench: Bench) -> None:
            self.require_matched(bench.client)
            remote_id = await self.put(bench, self.keyed("ada@example.com"))
            if not bench.client.matched_by or not self.locates(bench.client) or remote_id is None:
                return
            for email in ("augusta@example.com", ""):
                one = self.as_matched(bench.client, self.keyed(email))
                if email or bench.client.key(one) is not None:
                    located = await bench.locate([one])
                    require(located == [remote_id], f"with the key, and the address {email!r}, locate said {located}")

        self.run(check)

    def test_who_has_a_key_is_known_by_it_with_and_without_an_address(self) -> None:
        async def check(bench: Bench) -> None:
            client = bench.client
            self.require_matched(client)
            if not client.matched_by:
                return
            keys = {client.also_known_by(self.keyed(email)) for email in ("ada@example.com", "augusta@example.com", "")}
            require(len(keys) == 1 and None not in keys, f"one key, and also_known_by said {keys}")
            without = client.also_known_by(contact("ada@example.com", self.fields))
            require(without is None, f"a contact that has no key is also known by {without!r}")
            nameless = client.key(self.keyed(""))
            require(nameless is None or nameless in keys, f"without an address, key said {nameless!r}, and also_known_by {keys}")

        self.run(check)

    def test_a_contact_whose_address_changed_is_the_same_by_its_key(self) -> None:
        async def check(bench: Bench) -> None:
            if not self.matched or await self.put(bench, self.keyed("ada@example.com")) is None:
                return
            [entry] = await bench.deliver([self.keyed("augusta@example.com")])
            require(is_delivered(entry), f"a contact with a known key and another address was not delivered: {entry}")
            require(len(self.records(bench.sandbox)) == 1, "a contact with a known key got a second record")

        self.run(check)

    def require_matched(self, client: Client) -> None:
        lacking = {*client.matched_by} - {*self.matched}
        require(not lacking, f"matched has to name a value for {', '.join(sorted(lacking))}, which are in matched_by")

    def keyed(self, email: str) -> Contact:
        return contact(email, {**self.fields, **self.matched})

    @staticmethod
    def as_matched(client: Client, one: Contact) -> Contact:
        """As `crm-sync match` reads it: with no other fields than these."""
        return one._replace(fields={name: value for name, value in one.fields.items() if name in client.matched_by})

    @staticmethod
    def locates(client: Client) -> bool:
        return type(client).locate is not Client.locate or type(client).find is not Client.find
