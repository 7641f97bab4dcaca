"""How a contact without an id is matched: a unique property at HubSpot, ext_id at Brevo, an identifier at Mautic."""

from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from crm_sync.configuration import Configuration
from crm_sync.core.codes import Code
from crm_sync.core.mode import Mode
from crm_sync.core.outcome import Contact, Outcome, Verdict
from crm_sync.crm.brevo.client import Brevo
from crm_sync.crm.http import Http
from crm_sync.crm.hubspot.client import HubSpot
from crm_sync.crm.mautic.client import Mautic
from crm_sync.crm.mautic.login import PasswordLogin
from crm_sync.crm.registry import OWN
from crm_sync.daemon.installation import plan_lane
from crm_sync.environment import Environment
from crm_sync.errors import ConfigurationError, RefusedError
from crm_sync.postgres.pool import Database
from crm_sync.sandbox.brevo.sandbox import BrevoSandbox
from crm_sync.sandbox.hubspot.sandbox import HubSpotSandbox
from crm_sync.sandbox.mautic.sandbox import MauticSandbox
from crm_sync.settings import Settings
from crm_sync.table.schema import read_schema
from tests.roles import as_worker

KEY, TOKEN = "xkeysib-0123456789abcdef", "pat-eu1-0123456789abcdef"
ANA, BEN, CLEO = "ana@example.com", "ben@example.com", "cleo@example.com"


def contact(email, remote_id=None, **fields):
    return Contact(email, 1, 1, remote_id, email, None, fields)


@asynccontextmanager
async def hubspot(match="app_id", **options):
    async with (
        HubSpotSandbox(token=TOKEN, requests_per_ten_seconds=None) as crm,
        Http(crm.url, {"Authorization": f"Bearer {TOKEN}"}) as http,
    ):
        crm.account.define("app_id", "string", is_unique=True)
        yield crm, HubSpot(http, match=match, **options)


@asynccontextmanager
async def brevo(**options):
    async with (
        BrevoSandbox(key=KEY, contacts_per_second=None, contacts_per_hour=None) as crm,
        Http(f"{crm.url}/v3", {"api-key": KEY}) as http,
    ):
        yield crm, Brevo(http, match="ext_id", **options)


@asynccontextmanager
async def mautic(match="app_id", **options):
    async with MauticSandbox(username="user", password="password") as crm, Http(crm.url, {}) as http:
        crm.account.fields["app_id"] = "text"
        crm.account.identifiers.add("app_id")
        yield crm, Mautic(PasswordLogin(http, "user", "password"), match=match, **options)


def emails(crm):
    return {one.id: one.properties["email"] for one in crm.contacts.values()}


# HubSpot.


async def test_a_changed_address_reaches_the_record_that_has_the_property_though_the_row_knows_no_id():
    async with hubspot() as (crm, client):
        await client.deliver([contact(ANA, app_id="7"), contact(BEN, app_id="8")])
        made, other = await client.deliver([contact(CLEO, app_id="7"), contact(BEN, app_id="8")])
        assert (made.verdict, other.verdict) == (Verdict.DELIVERED, Verdict.DELIVERED)
        assert emails(crm) == {made.remote_id: CLEO, other.remote_id: BEN}
        assert {request.path.rpartition("/")[2] for request in crm.requests} == {"upsert"}


async def test_who_has_no_value_of_it_is_matched_by_the_address():
    async with hubspot() as (crm, client):
        entries = await client.deliver([contact(ANA, app_id=None), contact(BEN, app_id="8")])
        assert [entry.verdict for entry in entries] == [Verdict.DELIVERED] * 2
        assert [crm.contacts[entry.remote_id].properties["email"] for entry in entries] == [ANA, BEN]
        assert [request.body["inputs"][0]["idProperty"] for request in crm.requests] == ["app_id", "email"]


async def test_an_address_that_another_record_has_is_a_duplicate_and_not_tried_again():
    async with hubspot() as (crm, client):
        await client.deliver([contact(ANA, app_id="7")])
        [entry] = await client.deliver([contact(ANA, app_id="8")])
        assert (entry.verdict, entry.code) == (Verdict.REJECTED, Code.DUPLICATE)
        assert len(crm.contacts) == 1


async def test_an_id_in_the_row_goes_before_it():
    async with hubspot() as (crm, client):
        [made] = await client.deliver([contact(ANA, app_id="7")])
        await client.deliver([contact(CLEO, made.remote_id, app_id="9")])
        assert crm.contacts[made.remote_id].properties["app_id"] == "9"


@pytest.mark.parametrize("name", ["firstname", "nothing"])
async def test_one_that_is_not_unique_is_told_by_check_and_holds_the_lane(name):
    async with hubspot(match=name) as (crm, client):
        with pytest.raises(RefusedError, match=f"MISCONFIGURED: HUBSPOT_MATCH names {name}, whose values HubSpot does not keep"):
            await client.check()
        [entry] = await client.deliver([contact(ANA, **{name: "Ana"})])
        assert (type(entry), entry.code) == (RefusedError, Code.MISCONFIGURED)
        assert not crm.contacts


async def test_check_is_content_with_one_that_is():
    async with hubspot() as (_, client):
        assert "portal 123" in await client.check()


# Brevo.


async def test_brevo_finds_a_contact_by_its_ext_id_whatever_its_address_is_by_now():
    async with brevo() as (crm, client):
        await client.deliver([contact(ANA, EXT_ID="x/7")])
        [entry] = await client.deliver([contact(CLEO, EXT_ID="x/7")])
        assert (entry.verdict, entry.remote_id) == (Verdict.DELIVERED, "1")
        assert [one.email for one in crm.contacts.values()] == [CLEO]


@pytest.mark.parametrize("ext_id", [None, "new", "..", 7])
async def test_without_one_that_brevo_knows_the_address_counts(ext_id):
    async with brevo() as (crm, client):
        await client.deliver([contact(ANA)])
        [entry] = await client.deliver([contact(ANA, EXT_ID=ext_id, FIRSTNAME="Ana")])
        assert entry.remote_id == "1"
        assert crm.contacts[1].attributes["FIRSTNAME"] == "Ana"


async def test_in_update_mode_it_is_looked_for_by_both():
    async with brevo(mode=Mode.UPDATE) as (crm, client):
        crm.account.save({"email": ANA, "ext_id": "x/7"})
        crm.account.save({"email": BEN})
        entries = [(await client.deliver([one]))[0] for one in (contact(CLEO, EXT_ID="x/7"), contact(BEN, EXT_ID="x/8"))]
        assert [entry.remote_id for entry in entries] == ["1", "2"]
        [missing] = await client.deliver([contact("dan@example.com", EXT_ID="x/9")])
        assert missing.code == Code.NOT_THERE


# Mautic.


async def test_mautic_finds_a_contact_by_its_identifier_whatever_its_address_is_by_now():
    async with mautic() as (crm, client):
        made = await client.deliver([contact(ANA, app_id="X,7"), contact(BEN, app_id='say "8"')])
        again = await client.deliver([contact(CLEO, app_id="x,7"), contact(BEN, app_id='say "8"')])
        assert [entry.verdict for entry in again] == [Verdict.DELIVERED] * 2
        assert [entry.remote_id for entry in again] == [entry.remote_id for entry in made]
        assert [one.values["email"] for one in crm.contacts.values()] == [CLEO, BEN]


@pytest.mark.parametrize("value", ["José", "a&b"])
async def test_with_an_address_any_value_finds_its_record(value):
    async with mautic() as (crm, client):
        for _ in range(2):
            [entry] = await client.deliver([contact(BEN, app_id=value)])
            crm.account.edit(crm.contacts[1], {"email": ANA})
        assert (entry.verdict, entry.remote_id, len(crm.contacts)) == (Verdict.DELIVERED, "1", 1)


@pytest.mark.parametrize("value", [None, "9"])
async def test_without_one_that_a_record_has_the_address_counts(value):
    async with mautic() as (crm, client):
        crm.account.create({"email": ANA})
        [entry] = await client.deliver([contact(ANA, app_id=value)])
        assert (entry.verdict, entry.remote_id, len(crm.contacts)) == (Verdict.DELIVERED, "1", 1)


async def test_an_id_in_the_row_goes_before_the_value_which_is_changed():
    async with mautic() as (crm, client):
        [made] = await client.deliver([contact(ANA, app_id="7")])
        crm.requests.clear()
        for value in ("José", "jose"):
            assert (await client.deliver([contact(ANA, made.remote_id, app_id=value)]))[0].verdict == Verdict.DELIVERED
            assert crm.contacts[int(made.remote_id)].values["app_id"] == value
        columns = [request.query.get("where[0][col]") for request in crm.requests if request.method == "GET"]
        assert columns == ["app_id", "email"] * 2


@pytest.mark.parametrize("version", ["4.4.13", "5.1.1"])
@pytest.mark.parametrize("matches_all", [False, True])
async def test_a_row_with_an_id_and_the_value_of_another_record_is_a_duplicate_and_nothing_is_merged(version, matches_all):
    """4.x would merge the two, and so would a newer one that wants all identifiers, of which an edit sends one."""
    async with mautic() as (crm, client):
        crm.account.version, crm.account.matches_all = version, matches_all
        crm.account.create({"email": ANA, "app_id": "7"})
        crm.account.create({"email": BEN, "app_id": "8"})
        taken, well = await client.deliver([contact(ANA, "1", app_id="8"), contact(CLEO, app_id="9")])
        assert taken == Outcome.rejected(Code.DUPLICATE, "app_id: record 2 of Mautic has this value, this contact is record 1")
        assert well.verdict == Verdict.DELIVERED
        assert [one.values["email"] for one in crm.contacts.values()] == [ANA, BEN, CLEO]


async def test_a_value_that_its_own_record_and_another_have_is_a_duplicate():
    async with mautic() as (crm, client):
        crm.account.version = "4.4.13"
        for address in (ANA, BEN):
            crm.account.create({"email": address, "app_id": "7"})
        [entry] = await client.deliver([contact(ANA, "1", app_id="7")])
        assert entry == Outcome.rejected(Code.DUPLICATE, "app_id: record 2 of Mautic has this value, this contact is record 1")
        assert len(crm.contacts) == 2


@pytest.mark.parametrize("holders", [0, 1, 2])
async def test_one_whose_record_is_gone_is_found_by_its_value(holders):
    async with mautic() as (crm, client):
        for address in [BEN, CLEO][:holders]:
            crm.account.create({"email": address, "app_id": "7"})
        [entry] = await client.deliver([contact(ANA, "41", app_id="7")])
        expected = (Verdict.REJECTED, Code.AMBIGUOUS, None) if holders == 2 else (Verdict.DELIVERED, None, "1")
        assert (entry.verdict, entry.code, entry.remote_id) == expected
        assert holders == 2 or crm.contacts[1].values["email"] == ANA


async def test_a_value_that_several_records_have_is_ambiguous_and_its_batch_goes_on():
    async with mautic() as (crm, client):
        crm.account.create({"email": ANA, "app_id": "7"})
        crm.account.create({"email": BEN, "app_id": "7"})
        twice, well = await client.deliver([contact("dan@example.com", app_id="7"), contact(CLEO, app_id="8")])
        assert (twice.verdict, twice.code) == (Verdict.REJECTED, Code.AMBIGUOUS)
        assert twice.reason == "app_id: several records of Mautic have this value: 1, 2"
        assert well.verdict == Verdict.DELIVERED


async def test_an_address_that_another_record_has_is_a_duplicate_at_mautic_too():
    async with mautic() as (crm, client):
        crm.account.create({"email": ANA, "app_id": "7"})
        crm.account.create({"email": BEN})
        [entry] = await client.deliver([contact(BEN, app_id="7")])
        assert (entry.verdict, entry.code) == (Verdict.REJECTED, Code.DUPLICATE)


@pytest.mark.parametrize("name", ["firstname", "nothing"])
async def test_one_that_is_no_identifier_is_told_by_mautics_check(name):
    async with mautic(match=name) as (_, client):
        with pytest.raises(RefusedError, match=f"MISCONFIGURED: MAUTIC_MATCH names {name}, which is no unique identifier"):
            await client.check()
    async with mautic() as (_, client):
        assert "credentials accepted" in await client.check()


async def test_a_preview_looks_for_the_identifier_first():
    async with mautic() as (_, client):
        found = client.assumptions(contact(ANA, app_id="7"))
        assert [len(one.answers) for one in found] == [2, 2]
        assert found[1].words == "if no record of Mautic has this address, and none has its app_id"
        known = client.assumptions(contact(ANA, "7", app_id="7"))
        assert [len(one.answers) for one in known] == [2, 2]
        assert known[0].words == "if record 7 of Mautic has this address, and no other has its app_id"


# What the mapping has to send for this.

SETTINGS = {
    "hubspot": {"HUBSPOT_ACCESS_TOKEN": TOKEN, "HUBSPOT_MATCH": "app_id"},
    "brevo": {"BREVO_API_KEY": KEY, "BREVO_MATCH": "ext_id"},
    "mautic": {
        "MAUTIC_BASE_URL": "https://mautic.example.com",
        "MAUTIC_USERNAME": "user",
        "MAUTIC_PASSWORD": "password",
        "MAUTIC_MATCH": "app_id",
    },
}


async def planned(url, crm, section):
    values = {"DATABASE_URL": as_worker(url), **SETTINGS[crm]}
    environment = Environment({name.lower(): value for name, value in values.items()})
    configuration = Configuration(environment.read(Settings), environment)
    async with Database(as_worker(url), size=1) as database:
        wanted = replace(configuration.of_lane(crm), sections={crm: section} if section else {})
        return await plan_lane(database, await read_schema(database), wanted)


@pytest.mark.parametrize("section", [None, {"firstname": "first_name"}, {"App_Id": "id::text"}])
@pytest.mark.parametrize(("crm", "field"), [("hubspot", "app_id"), ("brevo", "EXT_ID"), ("mautic", "app_id")])
async def test_a_match_that_the_mapping_does_not_send_is_told_before_a_contact_is_sent(url, crm, field, section):
    with pytest.raises(ConfigurationError) as error:
        await planned(url, crm, section)
    setting = f"{crm.upper()}_MATCH"
    assert str(error.value) == (
        f"{setting}: the mapping of {crm} does not send {field}, by which contacts are to be matched: add {field} to [{crm}] in "
        f"MAPPING_FILE, or unset {setting}"
    )


@pytest.mark.parametrize(
    ("crm", "field"), [("hubspot", "app_id"), ("brevo", "EXT_ID"), ("brevo", "ext_id"), ("mautic", "app_id")]
)
async def test_one_that_it_sends_is_planned(url, crm, field):
    assert field in (await planned(url, crm, {field: "id::text"})).mapping.fields


@pytest.mark.parametrize(("crm", "name"), [("hubspot", "App Id"), ("hubspot", "7"), ("mautic", "App"), ("mautic", "app-id")])
async def test_a_name_that_no_field_can_have_is_told_with_what_is_expected(url, crm, name):
    values = {**SETTINGS[crm], f"{crm.upper()}_MATCH": name}
    environment = Environment({name.lower(): value for name, value in values.items()})
    with (
        environment.in_force(),
        pytest.raises(ConfigurationError, match=f"{crm.upper()}_MATCH: expected email, or the ") as error,
    ):
        OWN[crm].read_account()
    assert "such as app_id" in str(error.value)
