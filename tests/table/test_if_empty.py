"""set = "if_empty" in the mapping: which fields of which CRMs can be sent only where the CRM has no value."""

import pytest

from crm_sync.crm.values import BREVO, HUBSPOT, MAUTIC, N8N
from crm_sync.errors import ConfigurationError
from crm_sync.postgres.pool import Database
from crm_sync.table.mapping import prepare_for
from crm_sync.table.schema import read_schema

PHONE = {"sql": "phone", "set": "if_empty"}
FORMS = {"hubspot": HUBSPOT, "brevo": BREVO, "mautic": MAUTIC, "n8n": N8N}


async def prepared(url, crm, section, **options):
    async with Database(url, size=1) as database:
        return await prepare_for(database, crm, {crm: section}, {}, await read_schema(database), forms=FORMS[crm], **options)


@pytest.mark.parametrize("crm", ["brevo", "mautic"])
async def test_a_crm_that_is_looked_at_first_takes_it(url, crm):
    mapping = await prepared(url, crm, {"phone": PHONE, "city": "city"})
    assert mapping.if_empty == {"phone"}
    assert mapping.notes == ["sent only where the CRM has no value: phone"]


@pytest.mark.parametrize("crm", ["hubspot", "n8n"])
async def test_another_refuses_it_naming_field_and_crm_and_what_to_do(url, crm):
    said = f'MAPPING_FILE: {crm}.phone: set = "if_empty" is not possible at {crm}, .*: remove the option to always send phone'
    with pytest.raises(ConfigurationError, match=said):
        await prepared(url, crm, {"phone": PHONE})


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"SMS": {"sql": "phone", "set": "if empty"}}, 'brevo.SMS: set must be "if_empty"'),
        ({"SMS": {"sql": "phone", "set": True}}, 'brevo.SMS: set must be "if_empty"'),
        ({"email": {"sql": "email", "set": "if_empty"}}, "brevo.email: the address is always sent: remove set"),
        ({"EMAIL": {"sql": "email", "set": "if_empty"}}, "brevo.EMAIL: the address is always sent: remove set"),
        (
            {"listIds": {"sql": "'{7}'::int[]", "set": "if_empty"}},
            "brevo.listIds: consent, lists and tags are not fields: remove set",
        ),
    ],
)
async def test_what_cannot_be_set_so_is_refused(url, section, said):
    with pytest.raises(ConfigurationError, match=f"MAPPING_FILE: {said}"):
        await prepared(url, "brevo", section)


async def test_it_is_cleared_only_where_the_field_itself_says_so(app, url):
    """What belongs to others once they have filled it is no matter of a setting for all fields."""
    await app.execute("SELECT crm_sync.set_clearing('brevo', true)")
    section = {"SMS": PHONE, "CITY": {"sql": "city", "set": "if_empty", "empty": "clear"}, "FIRSTNAME": "first_name"}
    mapping = await prepared(url, "brevo", section, empty="clear")
    assert (mapping.emptied, mapping.if_empty) == (["CITY", "FIRSTNAME"], {"SMS", "CITY"})
