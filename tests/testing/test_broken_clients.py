"""The kit: each way in which a client can break the contract fails the check for it."""

import socket
from dataclasses import replace

import pytest
from yarl import URL

from crm_sync.core.codes import Code
from crm_sync.core.outcome import Outcome
from crm_sync.core.values import Member
from crm_sync.crm.http import Http
from crm_sync.crm.members import boolean
from crm_sync.crm.registry import Crm
from crm_sync.crm.token_login import TokenLogin
from crm_sync.errors import LaneError, OutageError, RefusedError, ThrottledError
from crm_sync.settings import SettingsModel
from tests.testing.ledger import FORMS, Ledger, LedgerContract, LedgerSandbox, registered


class TakesAnyAnswer(Ledger):
    async def deliver(self, contacts):
        people = [{"email": one.email, "fields": one.filled, "id": one.remote_id} for one in contacts]
        answer = await self.login.request("POST", "/people/batch", {"people": people})
        return [Outcome.delivered(one["id"]) for one in answer.json["people"]]


class GoesByStatus(Ledger):
    def ids(self, answer):
        return {"ada@example.com": None}


class GoesByPlace(Ledger):
    async def deliver(self, contacts):
        people = [{"email": one.email, "fields": one.filled, "id": one.remote_id} for one in contacts]
        answer = await self.login.request("POST", "/people/batch", {"people": people})
        found = answer.get("people")
        if not isinstance(found, list) or len(found) != len(contacts):
            raise OutageError(Code.BROKEN_ANSWER, "another number of people")
        return [Outcome.delivered(str(one["id"])) if isinstance(one, dict) else Outcome.failed("X", "odd") for one in found]


class MakesTextsOfIds(Ledger):
    def ids(self, answer):
        people = answer.get("people")
        if not isinstance(people, list):
            raise OutageError(Code.BROKEN_ANSWER, "no people")
        [one] = people or [{}]
        return {"ada@example.com": str(one["id"])} if isinstance(one, dict) and "id" in one else {}


class LeavesOut(Ledger):
    async def deliver(self, contacts):
        return [entry for entry in await super().deliver(contacts) if entry.code is None]


class BlamesTheContact(Ledger):
    """For answers that concern every contact."""

    async def deliver(self, contacts):
        try:
            return await super().deliver(contacts)
        except LaneError as error:
            return [Outcome.rejected(Code.REJECTED, error.reason)] * len(contacts)


class WaitsAsItLikes(Ledger):
    async def deliver(self, contacts):
        try:
            return await super().deliver(contacts)
        except ThrottledError as error:
            raise ThrottledError(error.code, error.reason, 60.0) from None


class Hopes(Ledger):
    """Assumes that a request without an answer took effect."""

    async def deliver(self, contacts):
        try:
            return await super().deliver(contacts)
        except OutageError:
            return [Outcome.delivered(None)] * len(contacts)


class ForgetsIds(Ledger):
    async def deliver(self, contacts):
        return await super().deliver([one._replace(remote_id=None) for one in contacts])


class QuotesThePerson(Ledger):
    def ids(self, answer):
        if answer.status != 200:
            raise OutageError(Code.BROKEN_ANSWER, f"Ledger said {answer.text}")
        return super().ids(answer)


class QuotesAnother(Ledger):
    async def deliver(self, contacts):
        try:
            return await super().deliver(contacts)
        except OutageError:
            return [Outcome.failed(Code.NOT_ACCOUNTED, f"with {contacts[-1].fields['name']}")] * len(contacts)


class QuotesTheKey(Ledger):
    async def deliver(self, contacts):
        try:
            return await super().deliver(contacts)
        except OutageError as error:
            raise OutageError(error.code, "with ledger-secret-0123456789") from None


class Cuts(Ledger):
    async def deliver(self, contacts):
        cut = [one._replace(fields={name: str(value)[:20] for name, value in one.fields.items()}) for one in contacts]
        return await super().deliver(cut)


class WantsTexts(Ledger):
    async def deliver(self, contacts):
        return await super().deliver([one for one in contacts if one.fields["name"].strip() or True])


class DeletesUnseen(Ledger):
    async def delete(self, deletions):
        await self.login.send("DELETE", f"/people/{deletions[0].remote_id}")
        return [Outcome.delivered(None)]


class DeletesOnce(Ledger):
    async def delete(self, deletions):
        answer = await self.login.request("DELETE", f"/people/{deletions[0].remote_id}")
        return [Outcome.delivered(None) if answer.get("deleted") else Outcome.rejected(Code.REJECTED, "not there")]


class FindsSomebody(Ledger):
    async def find(self, emails):
        return ["1"] * len(emails)


class FindsByCase(Ledger):
    async def find(self, emails):
        return [self.ids(await self.login.request("GET", "/people", email=email)).get(email) for email in emails]


class ChecksNothing(Ledger):
    async def check(self):
        return "fine"


class SaysNothing(Ledger):
    async def check(self):
        await super().check()
        return " "


class CountsOnFields(Ledger):
    async def schema(self):
        answer = await self.login.request("GET", "/fields")
        return {name: name for name in answer.json["fields"]}


class Everyone(TokenLogin):
    """Each request logs in separately."""

    async def send(self, *request, **options):
        alone = TokenLogin(self._http, self._path, form=self._form, keys=self.keys)
        return await alone.send(*request, **options)


class Tries(TokenLogin):
    """Every request that waited for a refused login tries again."""

    async def send(self, *request, **options):
        try:
            return await super().send(*request, **options)
        except RefusedError:
            self._failure = None
            return await super().send(*request, **options)


class LogsInEachTime(Ledger):
    def log_in(self, http, client_id, secret, keys):
        return Everyone.client_credentials(http, "/token", client_id, secret, keys=keys)


class TriesAgain(Ledger):
    def log_in(self, http, client_id, secret, keys):
        return Tries.client_credentials(http, "/token", client_id, secret, keys=keys)


class Follows(Ledger):
    """Follows redirects."""

    async def deliver(self, contacts):
        answer = await self.login.send("POST", "/people/batch", {"people": []})
        if answer.status == 307:
            where = URL(answer.headers["Location"])
            async with Http(str(where.origin()), {}) as elsewhere:
                await elsewhere.send("GET", where.path)
        return await super().deliver(contacts)


class KeepsOpen(Ledger):
    """Uses its own connection. kept: for the test to close."""

    kept = ()

    async def deliver(self, contacts):
        KeepsOpen.kept = (*KeepsOpen.kept, socket.create_connection(self.address))
        return await super().deliver(contacts)

    def log_in(self, http, client_id, secret, keys):
        where = URL(http._base_url)
        self.address = (where.host, where.port)
        return super().log_in(http, client_id, secret, keys)


class ClearsNothing(Ledger):
    def cleared(self, contact):
        return ()


class ClearsAll(Ledger):
    def cleared(self, contact):
        return [*contact.fields] if contact.emptied else ()


class ReadsUnfolded(Ledger):
    def record(self, person, names):
        return super().record(person, names)._replace(addresses=frozenset({person["email"].upper()}))


class ReadsTheFirst(Ledger):
    read_limit = 4

    async def read(self, contacts, names):
        return [await self.read_one(contacts[0], names)] * len(contacts)


class ReadsSomebody(Ledger):
    async def read_one(self, contact, names):
        return await super().read_one(contact._replace(remote_id=contact.remote_id or "1"), names)


class ReadsNothing(Ledger):
    def record(self, person, names):
        return super().record(person, names)._replace(values={})


class ReadsWhatItLikes(Ledger):
    def record(self, person, names):
        return super().record({**person, "fields": dict.fromkeys(names, "Ada")}, names)


class ReadsAnyAnswer(Ledger):
    async def read_one(self, contact, names):
        [one] = (await self.login.request("GET", f"/people/{contact.remote_id or 1}")).json["people"] or [None]
        return one and self.record(one, names)


class FindsAllAlike(Ledger):
    def same(self, field, name, sent, held):
        return True


class FindsNothingAlike(Ledger):
    def same(self, field, name, sent, held):
        return sent is held


class ReadsStrangeMembers(Ledger):
    read_members = frozenset({"listIds"})


ANSWERS = {
    TakesAnyAnswer: (
        "odd_answer_null",
        "odd_answer_a_text",
        "odd_answer_no_member_of_any_list",
        "odd_answer_one_more_in_each_list",
    ),
    GoesByStatus: ("odd_answer_a_page_instead_of_json", "odd_answer_an_empty_object", "odd_answer_nothing", "odd_answer_true"),
    GoesByPlace: ("a_batch_of_which_the_answer_is_odd",),
    MakesTextsOfIds: ("odd_answer_an_object_instead_of_each_value", "odd_answer_null_instead_of_each_value"),
    LeavesOut: ("odd_answer_no_member_of_any_list", "a_batch_of_which_the_answer_is_odd"),
    BlamesTheContact: (
        *("a_failure_of_the_crm_is_an_outage", "a_page_of_a_proxy_that_finds_no_crm_is_an_outage", "a_refused_key_is_everybodys"),
        *("too_many_requests_are_a_pause_as_long_as_the_crm_says", "no_answer_in_time_is_an_outage", "odd_answer_megabytes"),
        *("one_bad_contact_is_refused_alone", "an_answer_that_is_lost_makes_no_second_record"),
    ),
    WaitsAsItLikes: ("too_many_requests_are_a_pause_as_long_as_the_crm_says",),
    Hopes: ("no_answer_in_time_is_an_outage", "odd_answer_half_of_it", "a_failure_of_the_crm_is_an_outage"),
    ForgetsIds: ("a_changed_address_changes_the_record_whose_id_is_known",),
    QuotesTheKey: ("a_failure_of_the_crm_is_an_outage", "an_answer_that_quotes_the_request_is_not_handed_on"),
    QuotesThePerson: ("an_answer_that_quotes_the_request_is_not_handed_on",),
    QuotesAnother: ("an_answer_that_quotes_the_request_is_not_handed_on",),
    Cuts: ("every_kind_of_value_can_be_sent", "a_long_text_arrives_or_is_told"),
    WantsTexts: ("empty_fields_are_delivered", "every_kind_of_value_can_be_sent"),
    DeletesUnseen: ("a_deletion_of_which_the_answer_is_odd",),
    DeletesOnce: ("a_deleted_contact_is_deleted_once_and_again",),
    FindsSomebody: ("a_record_is_found_by_its_address",),
    FindsByCase: ("a_record_is_found_by_its_address",),
    ChecksNothing: ("its_check_refuses_what_is_refused",),
    SaysNothing: ("its_check_says_something_and_changes_nothing",),
    CountsOnFields: ("its_schema_may_be_answered_oddly", "its_schema_has_the_fields_and_no_others"),
    LogsInEachTime: ("one_token_serves_all_and_is_renewed_once_for_all",),
    TriesAgain: ("a_login_that_is_refused_is_everybodys_and_tried_once",),
    ClearsNothing: ("what_is_to_be_cleared_is_cleared_and_nothing_else", "what_was_cleared_is_read_as_empty"),
    ClearsAll: ("what_is_to_be_cleared_is_cleared_and_nothing_else",),
    ReadsUnfolded: ("a_record_is_read_as_it_was_sent",),
    ReadsTheFirst: ("a_record_is_read_as_it_was_sent",),
    ReadsSomebody: ("nobody_is_read_for_a_contact_that_is_not_there",),
    ReadsNothing: ("a_record_is_read_as_it_was_sent",),
    ReadsWhatItLikes: ("what_was_cleared_is_read_as_empty", "another_value_is_told_from_what_was_sent"),
    ReadsAnyAnswer: ("a_record_of_which_the_answer_is_odd",),
    FindsAllAlike: ("another_value_is_told_from_what_was_sent",),
    FindsNothingAlike: ("a_record_is_read_as_it_was_sent",),
    ReadsStrangeMembers: ("what_is_read_beside_fields_is_a_member",),
}


def contract(client=Ledger, crm=None):
    broken = type("Broken", (LedgerContract,), {"crm": crm or registered(client)})
    return broken()


@pytest.mark.parametrize(
    ("client", "check"),
    [(client, check) for client, checks in ANSWERS.items() for check in checks],
    ids=lambda one: getattr(one, "__name__", one),
)
def test_a_client_that_breaks_the_contract_fails_its_check(client, check):
    with pytest.raises(AssertionError):
        getattr(contract(client), f"test_{check}")()


def odd_member(**options):
    return replace(FORMS, members={"optedOut": Member(**options)})


@pytest.mark.parametrize(
    ("forms", "check"),
    [
        (odd_member(form=boolean, opt_outs=bool.__invert__), "nobody_is_opted_in_unless_the_mapping_says_so"),
        (odd_member(form=boolean), "nobody_is_opted_in_unless_the_mapping_says_so"),
        (FORMS, "nobody_is_opted_in_unless_the_mapping_says_so"),
        (odd_member(form=lambda value: value.lower()), "a_value_that_is_none_for_a_member_is_that_contacts"),
        (odd_member(form=lambda value: {value}), "a_value_that_is_none_for_a_member_is_that_contacts"),
    ],
)
def test_members_that_break_the_contract_fail_their_check(forms, check):
    broken = contract(crm=registered(forms=forms))
    broken.opts_in = {} if forms is FORMS else broken.opts_in
    with pytest.raises(AssertionError):
        getattr(broken, f"test_{check}")()


class Creating(LedgerSandbox):
    """Addresses need not be unique there."""

    def upsert(self, one):
        known = super().upsert({**one, "email": f"{self.last}@example.net"})
        return known | {"email": one["email"]}


def test_a_crm_that_makes_a_second_record_fails_what_is_sent_again():
    broken = contract()
    broken.sandbox = Creating
    broken.records = lambda sandbox: [one._replace(email="ada@example.com") for one in LedgerContract.records(broken, sandbox)]
    for check in (
        broken.test_a_contact_that_is_there_is_changed_and_not_made_again,
        broken.test_an_answer_that_is_lost_makes_no_second_record,
    ):
        with pytest.raises(AssertionError, match=r"there are \d records of one address"):
            check()


class Misnamed(SettingsModel):
    leger_url: str | None = None


@pytest.mark.parametrize(
    ("crm", "check", "words"),
    [
        (Crm("ledger", registered().read_account, settings=Misnamed), "its_settings_begin_with_its_name", "LEGER_URL"),
        (
            Crm("ledger", registered().read_account, {"name": "x"}),
            "its_default_fields_are_those_of_its_account",
            "default fields",
        ),
        (Crm("ledger", object), "without_settings_there_is_no_account", "without a setting there is an account"),
    ],
)
def test_an_account_that_breaks_the_contract_fails_its_check(crm, check, words):
    with pytest.raises(AssertionError, match=words):
        getattr(contract(crm=crm), f"test_{check}")()


def test_a_connection_of_its_own_is_missed_at_the_end():
    broken = contract(KeepsOpen)
    broken.closed_within_s = 0.05
    try:
        with pytest.raises(AssertionError, match="connections are open"):
            broken.test_it_closes_its_connections()
    finally:
        for one in KeepsOpen.kept:
            one.close()


def test_a_client_that_follows_redirects_is_seen_where_they_lead():
    with pytest.raises(AssertionError, match="a redirect was followed"):
        contract(Follows).test_a_redirect_is_not_followed()
