"""If a database role lacks a right, the user is told which, and which command grants it, before and after trying."""

import os

import pytest

from tests.console.running import visiting
from tests.console.test_pages import text_of
from tests.console.test_who_may import ROWS
from tests.roles import granted
from tests.steps import insert
from tests.table.test_failed_contacts import fails

ONLY_READS = f"crm_sync_only_reads_{os.getpid()}"
COMMAND = f"crm-sync grants {ONLY_READS} --console"
CHANGES = [name for name in ROWS if "look" not in name]


@pytest.fixture
async def only_reads(url):
    its_url = granted(url, ONLY_READS, "--console-readonly")
    async with visiting(its_url) as visit:
        await visit.sign_in()
        yield visit


@pytest.mark.parametrize("name", CHANGES)
async def test_what_it_may_not_do_is_forbidden_with_the_right_and_the_command(app, only_reads, name):
    contact = await insert(app, "New")
    await fails(app, email="b@example.com", error="REJECTED: no")
    (method, path, form), (api_method, api_path, body) = ROWS[name]
    assert method == "POST"
    status, page = await only_reads.post(path.format(key=contact), form)
    assert status == 403
    assert "permission denied for" in page
    assert f"`{COMMAND}` prints it" in text_of(page)
    status, headers, said = await only_reads.call(api_method, api_path.format(key=contact), body)
    assert (status, headers["Content-Type"].split(";")[0], said["title"]) == (403, "application/problem+json", "Not allowed")
    assert f"the database role {ONLY_READS} lacks a right (permission denied for" in said["detail"]
    assert f"`{COMMAND}` prints it" in said["detail"]


async def test_its_buttons_are_not_there_and_the_pages_say_why(app, only_reads):
    contact = await fails(app, error="REJECTED: no")
    for path, button, right in (
        (f"contacts/{contact}", 'name="status"', "UPDATE on public.contacts brevo_sync_status"),
        (f"contacts/{contact}", "/reveal/", "INSERT on crm_sync.events"),
        ("contacts?crm=brevo", 'name="status"', "UPDATE on public.contacts brevo_sync_status"),
        ("failures", "Retry…", "UPDATE on public.contacts brevo_sync_status"),
        ("crms/brevo", 'name="act"', "UPDATE on crm_sync.lanes held_since"),
    ):
        status, page = await only_reads.get(path)
        assert (status, button in page) == (200, False), (path, button)
        said = text_of(page)
        assert f"The database role {ONLY_READS} lacks " in said
        assert right in said or "more" in said, (path, said)
        assert COMMAND in said


async def test_a_role_that_may_do_everything_is_told_nothing(app, signed_in):
    contact = await fails(app, error="REJECTED: no")
    for path in (f"contacts/{contact}", "contacts?crm=brevo", "failures", "crms/brevo"):
        _, page = await signed_in.get(path)
        assert "lacks" not in text_of(page)
        assert "<button" in page.partition("<main")[2].partition("</main")[0]


@pytest.mark.parametrize(
    ("revoked", "path", "api"),
    [
        ("SELECT ON crm_sync.events", "events", "/events"),
        ("SELECT ON crm_sync.minutes", "crms/brevo", "/crms/brevo/throughput"),
        ("SELECT ON contacts", "contacts?crm=brevo", "/contacts?crm=brevo"),
    ],
)
async def test_what_it_may_not_read_is_said_with_the_command_that_only_reads(app, only_reads, revoked, path, api):
    await app.execute(f"REVOKE {revoked} FROM {ONLY_READS}")
    status, page = await only_reads.get(path)
    assert (status, f"{COMMAND}-readonly" in text_of(page)) == (403, True)
    status, _, said = await only_reads.call("GET", api)
    assert (status, f"{COMMAND}-readonly" in said["detail"]) == (403, True)


async def test_a_right_that_was_given_meanwhile_shows_the_button(app, only_reads):
    """Shared data is as old as it is for everyone."""
    contact = await insert(app, "New")
    await app.execute(
        f"GRANT UPDATE ON contacts, crm_sync.lanes TO {ONLY_READS}; GRANT INSERT ON crm_sync.events TO {ONLY_READS}"
    )
    _, page = await only_reads.get(f"contacts/{contact}")
    assert 'name="status"' in page
    assert (await only_reads.post(f"contacts/{contact}/brevo", {"status": "Selected"}))[0] == 303
