"""Names that are not fields of a contact: how values become consent, lists and tags, and that no contact is
opted in by accident.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_sync.core.outcome import Contact
from crm_sync.core.values import PLAIN, Kind, Shape, member_writer
from crm_sync.crm import members
from crm_sync.crm.values import BREVO, HUBSPOT, MAUTIC, N8N
from crm_sync.errors import ConfigurationError, UnsendableError
from crm_sync.postgres.pool import Database
from crm_sync.table.mapping import prepare_for
from crm_sync.table.one_contact import NO_CLAIM
from crm_sync.table.schema import read_schema
from crm_sync.table.unreadable_rows import Reader
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
    assert mapping.notes == ["opted in at each delivery of a row that says so: smsblacklisted"]


async def test_what_the_key_of_hubspot_needs_for_them_is_a_note_of_check(url):
    section = {"hubspot": {"unsubscribeAll": "true", "unsubscribeFrom": "ARRAY[7]", "listids": "ARRAY[8]", "city": "city"}}
    async with Database(as_worker(url), size=1) as database:
        mapping = await prepare_for(database, "hubspot", section, {}, await read_schema(database), forms=HUBSPOT)
    [statuses, lists] = mapping.notes
    assert statuses.startswith("For unsubscribeAll, unsubscribeFrom the key needs the scope communication_preferences.write, or ")
    assert lists == "For listids the key needs the scope crm.lists.write"


async def refused(url, section, forms, crm="brevo", **options):
    """In what words the mapping of one CRM is refused."""
    async with Database(as_worker(url), size=1) as database:
        with pytest.raises(ConfigurationError) as error:
            await prepare_for(database, crm, {crm: section}, {}, await read_schema(database), forms=forms, **options)
    return str(error.value)


@pytest.mark.parametrize(
    ("forms", "name", "words"),
    [
        (BREVO, "FIRSTNAME", "it is not consent, and subscribe is for emailBlacklisted and smsBlacklisted: remove subscribe"),
        (
            BREVO,
            "listIds",
            "it never opts anybody in, and subscribe is for emailBlacklisted and smsBlacklisted: remove subscribe",
        ),
        (MAUTIC, "tags", "it never opts anybody in, and subscribe is for doNotContact: remove subscribe"),
        (HUBSPOT, "unsubscribeAll", "it never opts anybody in, and subscribe is for subscribeTo: remove subscribe"),
        (HUBSPOT, "unsubscribeFrom", "it never opts anybody in, and subscribe is for subscribeTo: remove subscribe"),
        (N8N, "opted_out", "it is not consent, and the client of brevo has no field for consent: remove subscribe"),
        (PLAIN, "opted_out", "it is not consent, and the client of brevo has no field for consent: remove subscribe"),
    ],
)
async def test_subscribe_of_what_opts_nobody_in_is_refused_with_the_fields_that_it_is_for(url, forms, name, words):
    assert await refused(url, {name: {"sql": "true", "subscribe": True}}, forms) == f"MAPPING_FILE: brevo.{name}: {words}"


@pytest.mark.parametrize(("forms", "name"), [(BREVO, "listids"), (MAUTIC, "tags"), (HUBSPOT, "unsubscribeAll")])
async def test_consent_lists_and_tags_that_are_to_be_cleared_are_refused(url, forms, name):
    said = await refused(url, {name: {"sql": "NULL", "empty": "clear"}}, forms)
    assert said == f'MAPPING_FILE: brevo.{name}: consent, lists and tags cannot be cleared: remove empty = "clear"'


@pytest.mark.parametrize(
    ("forms", "first", "second"),
    [(BREVO, "LASTNAME", "lastname"), (BREVO, "City", "CITY"), (BREVO, "listIds", "LISTIDS"), (HUBSPOT, "listIds", "listids")],
)
async def test_a_field_that_is_there_twice_is_told(url, forms, first, second):
    said = await refused(url, {first: "NULL::int[]", second: "NULL::int[]"}, forms)
    assert said == f"MAPPING_FILE: brevo.{first} and brevo.{second} are the same field of brevo: remove one of them"


@pytest.mark.parametrize("name", ["EMAIL", "Email"])
async def test_an_address_by_another_name_is_told_and_not_left_out(url, name):
    assert await refused(url, {name: "lower(email)"}, BREVO) == (
        f"MAPPING_FILE: brevo.{name}: the address is called email here: write email instead of {name}"
    )


async def test_where_case_matters_names_that_differ_by_it_are_two_fields(url):
    section = {"plan": "city", "Plan": "first_name", "Email": "email"}
    async with Database(as_worker(url), size=1) as database:
        mapping = await prepare_for(database, "brevo", {"brevo": section}, {}, await read_schema(database), forms=N8N)
    assert [*mapping.fields] == [*section]


@pytest.mark.parametrize(
    ("forms", "name", "sql", "words"),
    [
        (BREVO, "emailBlacklisted", "'t'::text", "it must be a boolean, and is text"),
        (BREVO, "smsblacklisted", "1", "it must be a boolean, and is integer"),
        (BREVO, "listIds", "'7'::text", "it must be an array of ids, as int[], and is text"),
        (BREVO, "unlinkListIds", "ARRAY['7']", "it must be an array of ids, as int[], and is text[]"),
        (HUBSPOT, "unsubscribeAll", "ARRAY[true]", "it must be a boolean, and is boolean[]"),
        (HUBSPOT, "subscribeTo", "now()", "it must be an array of ids, as int[], and is timestamp with time zone"),
        (HUBSPOT, "legalBasis", "7", "it must be a text, and is integer"),
        (MAUTIC, "doNotContact", "'email'::text", "it must be a boolean, or an array of channels, as text[], and is text"),
        (MAUTIC, "segmentIds", "true", "it must be an array of ids, as int[], and is boolean"),
    ],
)
async def test_a_column_of_a_type_that_can_never_be_sent_is_told_before_a_contact_is(url, forms, name, sql, words):
    said = await refused(url, {name: sql}, forms)
    assert said == f"mapping of brevo.{name}: {words}: cast it, or name another column"


@pytest.mark.parametrize(
    ("forms", "name", "sql"),
    [
        *((BREVO, "emailBlacklisted", sql) for sql in ("true", "'true'::jsonb")),
        *((BREVO, "listIds", sql) for sql in ("7", "7::bigint", "7::numeric", "ARRAY[7]", "'[7]'::jsonb", "ARRAY[7::numeric]")),
        *((MAUTIC, "doNotContact", sql) for sql in ("true", "ARRAY['email']", "'{}'::jsonb", "ARRAY['email'::varchar]")),
        *((MAUTIC, "tags", sql) for sql in ("'a'::text", "ARRAY['a']", "7")),
        (HUBSPOT, "legalBasis", "'NON_GDPR'::varchar"),
    ],
)
async def test_a_column_of_which_some_values_can_be_sent_is_taken(url, forms, name, sql):
    async with Database(as_worker(url), size=1) as database:
        await prepare_for(database, "brevo", {"brevo": {name: sql}}, {}, await read_schema(database), forms=forms)


# What a contact is to join and to leave at once.


@pytest.mark.parametrize(
    ("forms", "section", "words"),
    [
        (BREVO, {"listIds": "ARRAY[7, 8]", "unlinkListIds": "ARRAY[8]"}, "listIds, unlinkListIds: list 8 is in both"),
        (HUBSPOT, {"LISTIDS": "ARRAY[7, 8]", "unlinkListIds": "ARRAY[8, 7]"}, "LISTIDS, unlinkListIds: lists 7, 8 are in both"),
        (MAUTIC, {"segmentIds": "7", "unlinkSegmentIds": "'[7]'::jsonb"}, "segmentIds, unlinkSegmentIds: segment 7 is in both"),
    ],
)
async def test_what_is_to_be_joined_and_left_is_that_contacts_mapping_failed_and_names_both(app, url, forms, section, words):
    await app.execute("INSERT INTO contacts (email) VALUES ('ada@example.com')")
    claimed = await read_one(app, url, section, forms)
    [(_, why)] = claimed.unreadable
    assert why == f"{words}, so it is not clear what is meant: remove it from one of them"


@pytest.mark.parametrize(
    ("forms", "section"),
    [
        (BREVO, {"listIds": "ARRAY[7]", "unlinkListIds": "ARRAY[8]"}),
        (BREVO, {"listIds": "ARRAY[7]", "unlinkListIds": "NULL::int[]"}),
        (BREVO, {"listIds": "NULL::int[]", "unlinkListIds": "ARRAY[7]"}),
        (HUBSPOT, {"subscribeTo": {"sql": "ARRAY[7]", "subscribe": True}, "unsubscribeFrom": "ARRAY[7]"}),
    ],
)
async def test_what_does_not_contradict_itself_is_sent_and_an_opt_out_of_what_is_opted_into_too(app, url, forms, section):
    await app.execute("INSERT INTO contacts (email) VALUES ('ada@example.com')")
    claimed = await read_one(app, url, section, forms)
    assert (len(claimed.contacts), claimed.unreadable) == (1, [])


async def read_one(app, url, section, forms):
    async with Database(as_worker(url), size=1) as database:
        schema = await read_schema(database)
        mapping = await prepare_for(database, "brevo", {"brevo": section}, {}, schema, forms=forms)
        reader = Reader(
            database,
            schema.lanes["brevo"].variables,
            mapping.email,
            mapping.fields,
            writers=mapping.writers,
            longest=mapping.longest,
            apart=mapping.apart,
        )
        number = await app.fetchval("SELECT id FROM contacts")
        return await reader.read([Contact(number, NO_CLAIM, 0, None, None, None, {})], NO_CLAIM)


async def test_what_is_no_field_is_not_looked_for_among_the_fields_of_the_crm(url):
    async with Database(as_worker(url), size=1) as database:
        schema = await read_schema(database)
        for crm, forms in {"hubspot": HUBSPOT, "brevo": BREVO, "mautic": MAUTIC}.items():
            section = {"OWN": "first_name", **{name.upper(): "NULL::jsonb" for name in forms.members}}
            mapping = await prepare_for(database, crm, {crm: section}, {}, schema, forms=forms)
            assert [shape.name for shape in mapping.shapes] == ["OWN"], crm
