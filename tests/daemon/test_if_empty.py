"""Fields that are set only where the CRM has none, by a real worker, with what the row says was sent of them."""

import pytest

from crm_sync.sandbox.credentials import BREVO_KEY
from tests.commands.test_preview import run as preview
from tests.daemon.test_clearing import ADA, OF_SALES, PHONE, flip, insert, phone, put_by_sales, sent_fields, turn_on
from tests.faults.real_crms import delivering, sandboxes
from tests.roles import let_in

FIELD = {"brevo": "SMS", "mautic": "phone"}
NAME = {"brevo": "FIRSTNAME", "mautic": "firstname"}


@pytest.fixture
def mapping(url, tmp_path):
    def write(crm, options='set = "if_empty"'):
        path = tmp_path / "mapping.toml"
        path.write_text(f'[{crm}]\n{NAME[crm]} = "first_name"\n{FIELD[crm]} = {{ sql = "phone", {options} }}\n')
        let_in(url, MAPPING_FILE=str(path))
        return {"MAPPING_FILE": str(path)}

    return write


@pytest.mark.parametrize("crm", FIELD)
async def test_what_sales_typed_is_neither_overwritten_nor_cleared(app, url, monkeypatch, mapping, crm):
    await turn_on(app, crm)
    env = mapping(crm, 'set = "if_empty", empty = "clear"')
    async with sandboxes(crm) as there, delivering(url, monkeypatch, {crm: there[crm].url}, **env):
        put_by_sales(crm, there[crm])
        await insert(app, crm, PHONE)
        assert phone(crm, there[crm]) == OF_SALES
        assert await app.fetchval(f"SELECT {crm}_processing_error FROM contacts") is None
        assert await sent_fields(app, crm) in (0, None)
        await flip(app, crm, "phone = NULL")
        assert phone(crm, there[crm]) == OF_SALES


@pytest.mark.parametrize("crm", FIELD)
async def test_what_it_set_itself_is_cleared_with_the_row(app, url, monkeypatch, mapping, crm):
    await turn_on(app, crm)
    env = mapping(crm, 'set = "if_empty", empty = "clear"')
    async with sandboxes(crm) as there, delivering(url, monkeypatch, {crm: there[crm].url}, **env):
        await insert(app, crm, PHONE)
        await flip(app, crm)
        assert (phone(crm, there[crm]), await sent_fields(app, crm)) == (PHONE.lstrip("+"), 1)
        await flip(app, crm, "phone = NULL")
        assert phone(crm, there[crm]) is None


@pytest.mark.parametrize("crm", FIELD)
async def test_what_sales_typed_over_it_is_not_cleared_once_a_delivery_has_found_it(app, url, monkeypatch, mapping, crm):
    await turn_on(app, crm)
    env = mapping(crm, 'set = "if_empty", empty = "clear"')
    async with sandboxes(crm) as there, delivering(url, monkeypatch, {crm: there[crm].url}, **env):
        await insert(app, crm, PHONE)
        account = there[crm].account
        [record] = account.contacts.values()
        if crm == "brevo":
            account.update(record, {"attributes": {"SMS": OF_SALES}})
        else:
            account.edit(record, {"phone": OF_SALES})
        await flip(app, crm)
        await flip(app, crm, "phone = NULL")
        assert phone(crm, there[crm]) == OF_SALES


@pytest.mark.parametrize("crm", FIELD)
async def test_without_clearing_the_row_has_no_column_for_it(app, url, monkeypatch, mapping, crm):
    async with sandboxes(crm) as there, delivering(url, monkeypatch, {crm: there[crm].url}, **mapping(crm)):
        await insert(app, crm, PHONE)
        await flip(app, crm, "phone = '+33639980005'")
        assert phone(crm, there[crm]) == PHONE.lstrip("+")


async def test_preview_says_what_is_sent_in_each_case(app, url, mapping):
    await app.execute("INSERT INTO contacts (email, first_name, phone) VALUES ($1, 'Ada', $2)", ADA, PHONE)
    said = preview(url, "--email", ADA, "--crm", "brevo", BREVO_API_KEY=BREVO_KEY, **mapping("brevo")).output
    there, filled, missing = said.partition("If Brevo has a contact")[2].split("If Brevo has ")
    assert ('"SMS"' in there, '"SMS"' in filled, '"SMS"' in missing) == (True, False, True)
    assert ("PUT" in there, "PUT" in filled, "POST" in missing) == (True, True, True)
    assert '"updateEnabled": false' in missing


async def test_preview_of_mautic_says_it_too(app, url, mapping):
    await app.execute("INSERT INTO contacts (email, first_name, phone) VALUES ($1, 'Ada', $2)", ADA, PHONE)
    env = {"MAUTIC_BASE_URL": "https://mautic.example.com", "MAUTIC_USERNAME": "ada", "MAUTIC_PASSWORD": "secret-1"}
    said = preview(url, "--email", ADA, "--crm", "mautic", **env, **mapping("mautic")).output
    filled = said.partition("and a value of phone")[2].partition("If no record")[0]
    assert ('"phone"' in filled, '"firstname"' in filled, said.count('"phone"')) == (False, True, 2)
