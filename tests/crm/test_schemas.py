"""What each client makes of the fields that its CRM has: by type and option what can never arrive, against sandbox and wire."""

import warnings
from contextlib import asynccontextmanager

import httpx
import pytest
from brevo.contacts import GetAttributesResponse

from crm_sync.core.codes import Code
from crm_sync.core.outcome import Contact, Outcome
from crm_sync.core.remote_schema import SentField
from crm_sync.core.values import Kind, Shape
from crm_sync.crm.brevo.client import Brevo
from crm_sync.crm.client import Client
from crm_sync.crm.http import Http
from crm_sync.crm.hubspot.client import HubSpot
from crm_sync.crm.mautic.client import Mautic
from crm_sync.crm.mautic.login import PasswordLogin
from crm_sync.crm.mautic.schema import PAGE_OF_FIELDS
from crm_sync.crm.n8n.client import N8n
from crm_sync.crm.registry import OWN
from crm_sync.errors import LaneError, RefusedError
from crm_sync.sandbox.brevo.sandbox import BrevoSandbox
from crm_sync.sandbox.credentials import MAUTIC_PASSWORD, MAUTIC_USERNAME
from crm_sync.sandbox.hubspot.sandbox import HubSpotSandbox
from crm_sync.sandbox.mautic.sandbox import MauticSandbox
from tests.crm.prepared import PreparedAnswers

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the SDK's own, while it is loaded
    from hubspot.crm import properties as sdk

KEY, TOKEN = "xkeysib-0123456789abcdef", "pat-eu1-0123456789abcdef"
ALL = [*Kind]


@asynccontextmanager
async def hubspot(**options):
    limits = {"requests_per_ten_seconds": None, "requests_per_day": None}
    async with (
        HubSpotSandbox(token=TOKEN, **limits, **options) as crm,
        Http(crm.url, {"Authorization": f"Bearer {TOKEN}"}) as http,
    ):
        yield crm, HubSpot(http, path=crm.path)


@asynccontextmanager
async def brevo():
    async with (
        BrevoSandbox(key=KEY, contacts_per_second=None, contacts_per_hour=None) as crm,
        Http(f"{crm.url}/v3", {"api-key": KEY}) as http,
    ):
        yield crm, Brevo(http)


@asynccontextmanager
async def mautic():
    async with MauticSandbox() as crm, Http(crm.url, {}) as http:
        yield crm, Mautic(PasswordLogin(http, MAUTIC_USERNAME, MAUTIC_PASSWORD))


OPENED = {"hubspot": hubspot, "brevo": brevo, "mautic": mautic}


def sent(name, kind=Kind.TEXT, labels=None, *, is_list=False):
    return SentField(name, kind.name.lower(), Shape(kind, is_list), labels)


async def unfit(client, *names_and_kinds):
    """Those that never arrive."""
    schema = await client.schema()
    return {misfit.name: misfit for misfit in schema.misfits([sent(*one) for one in names_and_kinds])}


async def kinds_that_fit(client, name, *, is_list=False):
    schema = await client.schema()
    return {kind for kind in ALL if not schema.misfits([sent(name, kind, is_list=is_list)])}


# What every one of them knows.


@pytest.mark.parametrize(("crm", "name"), [("hubspot", "plan"), ("brevo", "PLAN"), ("mautic", "plan")])
async def test_a_field_that_the_account_lacks_is_missing(crm, name):
    async with OPENED[crm]() as (_, client):
        assert (await unfit(client, (name,)))[name].missing


@pytest.mark.parametrize(("crm", "names"), [("hubspot", "FirstName"), ("mautic", "FirstName")])
async def test_a_name_in_other_letters_is_missing_with_the_one_that_is_meant(crm, names):
    async with OPENED[crm]() as (_, client):
        assert "but firstname" in (await unfit(client, (names,)))[names].words


@pytest.mark.parametrize(
    ("crm", "names"), [("hubspot", ["email"]), ("brevo", ["email", "ext_id", "fname"]), ("mautic", ["tags"])]
)
async def test_what_the_client_sends_beside_the_fields_is_none_of_them(crm, names):
    async with OPENED[crm]() as (sandbox, client):
        if crm == "brevo":
            sandbox.account.attributes["FNAME"] = "text"  # Brevo's names are upper-case, and the client writes them so
        assert await unfit(client, *[(name,) for name in names]) == {}


@pytest.mark.parametrize("crm", OPENED)
async def test_the_default_fields_fit_a_new_account(crm):
    async with OPENED[crm]() as (_, client):
        assert await unfit(client, *[(name,) for name in OWN[crm].default_fields]) == {}


@pytest.mark.parametrize("crm", OPENED)
@pytest.mark.parametrize("body", [{}, {"results": "x", "attributes": "x", "fields": "x"}, b"<html>", []])
async def test_what_is_not_the_vendors_answer_is_no_schema(crm, body):
    with PreparedAnswers("https://crm.example.com") as prepared:
        path, opened = {
            "hubspot": ("/crm/v3/properties/contacts", HubSpot),
            "brevo": ("/contacts/attributes", Brevo),
            "mautic": (
                f"/api/fields/contact?start=0&limit={PAGE_OF_FIELDS}&orderBy=id",
                lambda http: Mautic(PasswordLogin(http, "ada", "password")),
            ),
        }[crm]
        prepared.answer(("GET", path), 200, body)
        async with Http(prepared.base_url, {}) as http:
            with pytest.raises(LaneError):
                await opened(http).schema()


def test_n8n_has_none():
    assert N8n.schema is Client.schema


# HubSpot.

HUBSPOT_TAKES = {
    "string": set(ALL),
    "number": set(ALL) - {Kind.BOOLEAN, Kind.DATE, Kind.MOMENT, Kind.LOCAL_MOMENT},
    "bool": {Kind.TEXT, Kind.OTHER, Kind.INTERVAL, Kind.JSON, Kind.BOOLEAN},
    "date": {Kind.TEXT, Kind.OTHER, Kind.INTERVAL, Kind.JSON, Kind.DATE, Kind.BIG, Kind.NUMERIC},
    "datetime": {Kind.TEXT, Kind.OTHER, Kind.INTERVAL, Kind.JSON, Kind.MOMENT, Kind.BIG, Kind.NUMERIC},
}


@pytest.mark.parametrize("kind", HUBSPOT_TAKES)
async def test_hubspots_types_take_what_some_text_of_it_can_be(kind):
    async with hubspot() as (crm, client):
        crm.account.define("own", kind)
        assert await kinds_that_fit(client, "own") == HUBSPOT_TAKES[kind]
        assert bool(await kinds_that_fit(client, "own", is_list=True)) == (kind == "string")


async def test_hubspots_options_are_held_against_the_labels_of_an_enum_and_a_boolean():
    async with hubspot() as (crm, client):
        crm.account.define("mood", "enumeration", ["happy", "sad"])
        assert await unfit(client, ("mood", Kind.TEXT, ("sad",))) == {}
        assert "angry" in (await unfit(client, ("mood", Kind.TEXT, ("sad", "angry"))))["mood"].words
        assert "true, false" in (await unfit(client, ("mood", Kind.BOOLEAN)))["mood"].words
        crm.account.define("vip", "bool")
        assert "yes" in (await unfit(client, ("vip", Kind.TEXT, ("yes", "true"))))["vip"].words


async def test_owners_are_options_that_hubspot_keeps_elsewhere():
    async with hubspot() as (crm, client):
        crm.account.define("hubspot_owner_id", "enumeration", [])
        assert await unfit(client, ("hubspot_owner_id", Kind.TEXT, ("7",))) == {}


async def test_hubspots_read_only_properties_are_refused_before_they_are_sent():
    async with hubspot() as (_, client):
        assert "read-only" in (await unfit(client, ("createdate", Kind.MOMENT)))["createdate"].words


async def test_the_scope_to_read_contacts_is_enough_and_without_it_nothing_is_known():
    async with hubspot() as (crm, client):
        crm.scopes = {"crm.objects.contacts.read"}
        assert await client.schema()
        crm.scopes = {"crm.objects.contacts.write"}
        with pytest.raises(RefusedError, match=r"crm\.objects\.contacts\.read"):
            await client.schema()


@pytest.mark.parametrize("path", ["/crm/v3/objects/contacts", "/crm/objects/2026-03/contacts"])
async def test_the_official_sdk_reads_the_properties_of_the_sandbox(path):
    async with hubspot(path=path) as (crm, _):
        crm.account.define("mood", "enumeration", ["happy", "sad"])
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {TOKEN}"}) as connections:
            body = (await connections.get(f"{crm.url}{crm.properties_path}")).content
    answer = type("Answer", (), {"data": body.decode()})()
    listed = sdk.ApiClient().deserialize(answer, sdk.CollectionResponsePropertyNoPaging)
    found = {one.name: one for one in listed.results}
    assert [option.value for option in found["mood"].options] == ["happy", "sad"]
    assert found["createdate"].modification_metadata.read_only_value is True
    assert found["firstname"].modification_metadata.read_only_value is False


# Brevo.

BREVO_TAKES = {
    "text": {Kind.TEXT, Kind.OTHER, Kind.INTERVAL, Kind.JSON, Kind.DATE, Kind.MOMENT},
    "float": {Kind.SMALL, Kind.BIG, Kind.NUMERIC, Kind.REAL, Kind.DOUBLE, Kind.JSON},
    "boolean": {Kind.BOOLEAN, Kind.JSON},
    "date": {Kind.DATE, Kind.TEXT, Kind.OTHER, Kind.INTERVAL},
    "multiple-choice": set(),
}


@pytest.mark.parametrize("kind", BREVO_TAKES)
async def test_brevos_types_take_what_it_does_not_ignore(kind):
    async with brevo() as (crm, client):
        crm.account.attributes["OWN"] = kind
        assert await kinds_that_fit(client, "own") == BREVO_TAKES[kind]
        assert bool(await kinds_that_fit(client, "own", is_list=True)) == (kind == "multiple-choice")


async def test_brevos_choices_and_categories_are_held_against_labels():
    async with brevo() as (crm, client):
        crm.account.attributes |= {"TAGS": "multiple-choice", "MOOD": "category"}
        crm.account.options |= {"TAGS": ["a", "b"], "MOOD": ["happy", "sad"]}
        schema = await client.schema()
        assert schema.misfits([sent("TAGS", labels=("a",), is_list=True), sent("MOOD", labels=("sad", "2"))]) == []
        [tags, mood] = schema.misfits([sent("TAGS", labels=("c",), is_list=True), sent("MOOD", labels=("angry",))])
        assert "can be c" in tags.words
        assert "can be angry" in mood.words


async def test_what_brevo_calculates_is_refused_before_it_is_sent():
    async with brevo() as (_, client):
        assert "calculated by Brevo" in (await unfit(client, ("BLACKLIST", Kind.SMALL)))["BLACKLIST"].words


async def test_the_official_sdks_model_holds_the_attributes_of_the_sandbox():
    async with brevo() as (crm, _), httpx.AsyncClient(headers={"api-key": KEY}) as connections:
        crm.account.attributes |= {"TAGS": "multiple-choice", "MOOD": "category", "SCORE": "float"}
        crm.account.options |= {"TAGS": ["a"], "MOOD": ["happy"]}
        text = (await connections.get(f"{crm.url}/v3/contacts/attributes")).text
    found = {one.name: one for one in GetAttributesResponse.model_validate_json(text, strict=True).attributes}
    assert found["TAGS"].multi_category_options == ["a"]
    assert (found["MOOD"].category, found["MOOD"].enumeration[0].label) == ("category", "happy")
    assert found["SCORE"].type == "float"


@pytest.mark.parametrize(
    ("kind", "value", "arrives"),
    [
        ("float", "9007199254740993", False),
        ("float", 7, True),
        ("text", 7, False),
        ("date", "soon", False),
        ("date", "2026-01-02", True),
        ("date", "2026-02-30", False),
        ("date", "2026-01-02 03:04:05+00", False),
        ("boolean", True, True),
    ],
)
async def test_a_value_that_brevo_would_ignore_is_left_out_and_told(kind, value, arrives):
    contact = Contact(1, 1, 1, None, "ada@example.com", None, {"OWN": value, "FIRSTNAME": "Ada"})
    async with brevo() as (crm, client):
        crm.account.attributes["OWN"] = kind
        await client.schema()
        [outcome] = await client.deliver([contact])
        left_out = f"OWN: it was left out, because Brevo has it as {kind}"
        assert outcome == Outcome.delivered("1", *(() if arrives else (Code.FIELD_NOT_SENT, left_out, frozenset({"OWN"}))))
        assert crm.contacts[1].attributes == {"FIRSTNAME": "Ada", **({"OWN": value} if arrives else {})}


@pytest.mark.parametrize("takes_labels", [False, True])
@pytest.mark.parametrize(
    ("value", "option"), [("sad", 2), ("2", 2), (2, 2), ("angry", None), ("Sad", None), (9, None), ("0", None)]
)
async def test_an_option_of_a_category_is_sent_by_its_number_and_what_is_none_is_told(value, option, takes_labels):
    """Whether Brevo takes the label too is not known: it was reported to ignore it."""
    contact = Contact(1, 1, 1, None, "ada@example.com", None, {"mood": value})
    async with brevo() as (crm, client):
        crm.account.takes_labels = takes_labels
        crm.account.attributes["MOOD"] = "category"
        crm.account.options["MOOD"] = ["happy", "sad"]
        await client.schema()
        [outcome] = await client.deliver([contact])
        if option is None:
            left_out = "MOOD: it was left out, because it is none of the options that Brevo has for it"
            assert outcome == Outcome.delivered("1", Code.FIELD_NOT_SENT, left_out, frozenset({"mood"}))
            assert crm.contacts[1].attributes == {}
        else:
            assert outcome == Outcome.delivered("1")
            assert crm.contacts[1].attributes == {"MOOD": option}


@pytest.mark.parametrize(("value", "arrives"), [(["a", "b"], True), (["b"], True), (["a", "c"], False)])
async def test_choices_of_which_brevo_lacks_one_are_left_out_and_told(value, arrives):
    contact = Contact(1, 1, 1, None, "ada@example.com", None, {"TAGS": value})
    async with brevo() as (crm, client):
        crm.account.attributes["TAGS"] = "multiple-choice"
        crm.account.options["TAGS"] = ["a", "b"]
        await client.schema()
        [outcome] = await client.deliver([contact])
        assert (outcome.code, crm.contacts[1].attributes) == ((None, {"TAGS": value}) if arrives else (Code.FIELD_NOT_SENT, {}))
