"""What is no field of a contact: how values become consent, lists and tags, and that nobody is opted in by accident."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_sync.core.values import Kind, Shape, member_writer
from crm_sync.crm import members
from crm_sync.crm.values import BREVO, HUBSPOT, MAUTIC, N8N
from crm_sync.errors import ConfigurationError, UnsendableError
from crm_sync.postgres.pool import Database
from crm_sync.table.mapping import prepare_for
from crm_sync.table.schema import read_schema
from tests.roles import as_worker


@pytest.mark.parametrize(
    ("form", "value", "written"),
    [
        (members.ids, 7, [7]),
        (members.ids, [7, 8, 7], [7, 8]),
        (members.ids, [[7], [8]], [7, 8]),
        (members.texts, ["a", " b ", "a", ""], ["a", "b"]),
        (members.texts, "a", ["a"]),
        (members.do_not_contact, True, [{"channel": "email", "reason": 3}]),
        (members.do_not_contact, [" Email", "sms"], [{"channel": "email", "reason": 3}, {"channel": "sms", "reason": 3}]),
        (members.do_not_contact, {"channel": "email", "reason": "1"}, [{"channel": "email", "reason": 1}]),
    ],
)
def test_what_a_value_becomes(form, value, written):
    assert form(value) == written


@pytest.mark.parametrize(
    ("form", "value"),
    [
        *((members.boolean, value) for value in ("true", 1, [True])),
        *((members.ids, value) for value in ("7", [7, "8"], [0], [-1], True, [True], [1.5], {"id": 7}, [*range(1, 200)])),
        *(
            (members.do_not_contact, value)
            for value in ("no", "email", ["", "email"], 7, {"reason": 1}, {"channel": "email", "reason": 4}, {"channel": 1})
        ),
    ],
)
def test_what_is_none_is_that_contacts_mapping_failed(form, value):
    with pytest.raises(UnsendableError):
        form(value)


channels = st.fixed_dictionaries({"channel": st.sampled_from(["email", "sms"])}, optional={"reason": st.integers(0, 3)})


@given(st.one_of(st.booleans(), st.lists(st.one_of(st.sampled_from(["email", "sms"]), channels))))
def test_whatever_it_is_nobody_is_opted_in_at_mautic(value):
    written = members.only_opt_outs(members.do_not_contact(value))
    assert all(one["reason"] in (1, 2, 3) for one in written)


def test_with_subscribe_it_is_as_it_was_said():
    write = member_writer(Shape(Kind.BOOLEAN), MAUTIC.members["doNotContact"], subscribe=True)
    assert write(False) == [{"channel": "email", "reason": 0}]
    write = member_writer(Shape(Kind.BOOLEAN), BREVO.members["emailBlacklisted"], subscribe=True)
    assert (write(False), write(True)) == (False, True)


SECTION = {
    "emailBlacklisted": "opted_out",
    "smsblacklisted": {"sql": "opted_out", "subscribe": True},
    "listIds": "lists",
    "FIRSTNAME": "first_name",
}


async def test_the_mapping_makes_them_and_never_empties_them(app, url):
    await app.execute("ALTER TABLE contacts ADD opted_out boolean, ADD lists int[]")
    await app.execute("SELECT crm_sync.set_clearing('brevo', true)")
    async with Database(url, size=1) as database:
        schema = await read_schema(database)
        mapping = await prepare_for(database, "brevo", {"brevo": SECTION}, {}, schema, forms=BREVO, empty="clear")
    assert mapping.emptied == ["FIRSTNAME"]
    assert [mapping.writers["emailBlacklisted"](value) for value in (True, False)] == [True, None]
    assert [mapping.writers["smsblacklisted"](value) for value in (True, False)] == [True, False]
    assert mapping.writers["listIds"]([7, None, 8]) == [7, 8]


async def test_what_the_key_of_hubspot_needs_for_them_is_a_note_of_check(url):
    section = {"hubspot": {"unsubscribeAll": "true", "unsubscribeFrom": "ARRAY[7]", "listids": "ARRAY[8]", "city": "city"}}
    async with Database(as_worker(url), size=1) as database:
        mapping = await prepare_for(database, "hubspot", section, {}, await read_schema(database), forms=HUBSPOT)
    [statuses, lists] = mapping.notes
    assert statuses.startswith("For unsubscribeAll, unsubscribeFrom the key needs the scope communication_preferences.write, or ")
    assert lists == "For listids the key needs the scope crm.lists.write"


@pytest.mark.parametrize("forms", [BREVO, MAUTIC, HUBSPOT, N8N])
async def test_subscribe_of_what_is_no_consent_is_refused(url, forms):
    section = {"brevo": {"FIRSTNAME": {"sql": "first_name", "subscribe": True}}}
    async with Database(as_worker(url), size=1) as database:
        with pytest.raises(ConfigurationError, match="subscribe is only for consent fields"):
            await prepare_for(database, "brevo", section, {}, await read_schema(database), forms=forms)


async def test_what_is_no_field_is_not_looked_for_among_the_fields_of_the_crm(url):
    async with Database(as_worker(url), size=1) as database:
        schema = await read_schema(database)
        for crm, forms in {"hubspot": HUBSPOT, "brevo": BREVO, "mautic": MAUTIC}.items():
            section = {"OWN": "first_name", **{name.upper(): "NULL" for name in forms.members}}
            mapping = await prepare_for(database, crm, {crm: section}, {}, schema, forms=forms)
            assert [shape.name for shape in mapping.shapes] == ["OWN"], crm
