"""The kit's checks of a client that matches by a key: one that keeps the contract, and each way in which one can break it."""

import pytest

from crm_sync.testing import Answer, route
from tests.testing.ledger import Ledger, LedgerContract, LedgerSandbox, registered

CODE = "a-1"
CHECKS = (
    "test_a_record_is_located_as_a_delivery_finds_it",
    "test_a_record_is_located_by_each_key_whatever_the_address_is",
    "test_who_has_a_key_is_known_by_it_with_and_without_an_address",
    "test_a_contact_whose_address_changed_is_the_same_by_its_key",
)


class CodedSandbox(LedgerSandbox):
    """Its people have a code, which is unique."""

    @route("GET", "/codes/{code}")
    def coded(self, call, code):
        return Answer(200, {"people": [self.shown(one) for one in self.people.values() if one["fields"].get("code") == code]})

    def upsert(self, one):
        code = one["fields"].get("code")
        known = next((old["id"] for old in self.people.values() if code and old["fields"].get("code") == code), one.get("id"))
        return super().upsert({**one, "id": known})


class Coded(Ledger):
    """Known by the code, else by the address."""

    matched_by = frozenset({"code"})

    async def locate(self, contacts):
        return [await self.locate_one(one) for one in contacts]

    async def locate_one(self, contact):
        code = contact.fields.get("code")
        found = self.ids(await self.login.request("GET", f"/codes/{code}")) if code else {}
        return next(iter(found.values()), None) or (await self.find([contact.email]))[0]

    def also_known_by(self, contact):
        code = contact.fields.get("code")
        return None if code is None else f"code {code}"


class LocatesByAddress(Coded):
    async def locate(self, contacts):
        return await self.find([one.email for one in contacts])


class LocatesSomebody(Coded):
    async def locate_one(self, contact):
        return await super().locate_one(contact) or "1"


class Makes(Coded):
    async def locate_one(self, contact):
        [said] = await self.deliver([contact])
        return said.remote_id


class KnowsNobody(Coded):
    def also_known_by(self, contact):
        return None


class KnowsByAddress(Coded):
    def also_known_by(self, contact):
        return f"{contact.email} {contact.fields.get('code')}"


class KnowsThoseWithoutACode(Coded):
    def also_known_by(self, contact):
        return f"code {contact.fields.get('code')}"


class HasAnotherKey(Coded):
    def key(self, contact):
        return f"number {contact.fields.get('code')}"


def contract(client, **changes):
    class Contract(LedgerContract):
        crm = registered(client)
        matched = {"code": CODE}  # noqa: RUF012

        def sandbox(self):
            return CodedSandbox()

    found = Contract()
    for name, value in changes.items():
        setattr(found, name, value)
    return found


@pytest.mark.parametrize("check", CHECKS)
def test_one_that_keeps_the_contract_passes(check):
    getattr(contract(Coded), check)()


@pytest.mark.parametrize("check", CHECKS)
def test_one_that_matches_by_address_alone_passes(check):
    getattr(LedgerContract(), check)()


@pytest.mark.parametrize(
    ("client", "check", "words"),
    [
        (LocatesByAddress, 1, "with the key, and the address 'augusta@example.com', locate said"),
        (LocatesSomebody, 0, "found a record for a contact that has none"),
        (Makes, 0, "locate"),
        (KnowsNobody, 2, "one key, and also_known_by said"),
        (KnowsByAddress, 2, "one key, and also_known_by said"),
        (KnowsThoseWithoutACode, 2, "a contact that has no key is also known by"),
        (HasAnotherKey, 2, "without an address, key said 'number a-1'"),
    ],
)
def test_one_that_breaks_it_fails_its_check(client, check, words):
    with pytest.raises(AssertionError, match=words):
        getattr(contract(client), CHECKS[check])()


def test_a_name_without_a_value_is_asked_for():
    with pytest.raises(AssertionError, match="matched has to name a value for code"):
        getattr(contract(Coded, matched={}), CHECKS[1])()
