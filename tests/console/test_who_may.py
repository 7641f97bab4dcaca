"""Who may do what: every cell of the manual's table, with the pages and with the API."""

import hashlib
import os

import pytest

from tests.console.running import TOKEN, visiting
from tests.manual import page
from tests.roles import granted
from tests.steps import insert
from tests.table.test_failed_contacts import fails

SCOPES = {"reader": ["read"], "flipper": ["read", "flip"], "operator": ["read", "operate"]}
# By column of the table: whose token it is, and whether the database role only reads.
COLUMNS = {
    "nobody": (None, False),
    "`read`": ("reader", False),
    "`read`, `flip`": ("flipper", False),
    "`read`, `operate`": ("operator", False),
    "all, with a role of `--console-readonly`": (TOKEN, True),
}
# By row of the table: the form of a page, and the call of the API.
ROWS = {
    "look at a page, or read over HTTP": (("GET", "contacts/{key}", None), ("GET", "/contacts/{key}", None)),
    "change the status of one contact": (
        ("POST", "contacts/{key}/brevo", {"status": "Skipped"}),
        ("POST", "/contacts/{key}/brevo", {"status": "Selected"}),
    ),
    "change the status of all that match": (
        ("POST", "selections", {"crm": "brevo", "state": "New", "status": "Skipped", "confirm": "yes"}),
        ("POST", "/selections", {"crm": "brevo", "status": "Selected", "where": {}, "dry_run": False}),
    ),
    "reveal an address": (("POST", "reveal/{key}", {}), ("GET", "/contacts/{key}?reveal=true", None)),
    "retry failed contacts": (
        ("POST", "failures", {"crm": "brevo", "code": "REJECTED", "confirm": "yes"}),
        ("POST", "/retries", {"crm": "brevo", "dry_run": False}),
    ),
    "pause and resume a CRM": (
        ("POST", "crms/brevo", {"act": "pause", "reason": "a test"}),
        ("PUT", "/crms/brevo/pause", {"reason": "a test"}),
    ),
}


def table():
    """(row, column, whether it may)"""
    [lines] = [
        block.splitlines()
        for block in page("how-to/console.md").split("\n\n")
        if block.startswith("| | nobody |")
    ]  # fmt: skip
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    for name, *cells in rows:
        for column, cell in zip(head[1:], cells, strict=True):
            yield name, column, {"yes": True, "no": False}[cell]


def test_the_table_has_every_row_and_column():
    assert {name for name, _, _ in table()} == set(ROWS)
    assert {column for _, column, _ in table()} == set(COLUMNS)


@pytest.fixture
def tokens(tmp_path):
    file = tmp_path / "tokens.toml"
    sections = [
        f'[{name}]\nsha256 = "{hashlib.sha256(name.encode()).hexdigest()}"\nscopes = {scopes}\n'
        for name, scopes in SCOPES.items()
    ]
    file.write_text("".join(sections).replace("'", '"'))
    return file


@pytest.fixture
def readonly_url(url):
    return granted(url, f"crm_sync_readonly_{os.getpid()}", "--console-readonly")


@pytest.mark.parametrize("column", COLUMNS)
async def test_who_may_do_what(app, console_url, readonly_url, tokens, column):
    token, only_reads = COLUMNS[column]
    may = {name: allowed for name, of_column, allowed in table() if of_column == column}
    contact = await insert(app, "New")
    await fails(app, email="b@example.com", error="REJECTED: no")
    async with visiting(readonly_url if only_reads else console_url, console_tokens_file=tokens) as visit:
        if token is not None:
            assert await visit.sign_in(token) == 303
        for name, (of_page, of_api) in ROWS.items():
            before = await state(app)
            method, path, form = of_page
            path = path.format(key=contact)
            found, _ = await (visit.get(path) if method == "GET" else visit.post(path, form))
            assert (found in (200, 303) and token is not None) == may[name], (name, path, found)
            method, path, body = of_api
            found, _, said = await visit.call(method, path.format(key=contact), body, token=token)
            assert (found == 200) == may[name], (name, path, found, said)
            assert may[name] or await state(app) == before, f"{name}: nothing is changed"


async def test_a_token_with_a_role_has_the_rights_of_that_role_and_no_others(app, url, readonly_url, tmp_path):
    """With a console whose own role may do everything."""
    role_name = f"crm_sync_readonly_{os.getpid()}"
    digest = hashlib.sha256(b"limited").hexdigest()
    file = tmp_path / "tokens.toml"
    file.write_text(f'[limited]\nsha256 = "{digest}"\nscopes = ["read", "flip", "operate"]\nrole = "{role_name}"\n')
    contact = await insert(app, "New")
    async with visiting(url, console_tokens_file=file) as visit:
        before = await state(app)
        for method, path, body in [call for _, call in ROWS.values()]:
            found, _, said = await visit.call(method, path.format(key=contact), body, token="limited")
            assert (found == 200) == (method == "GET" and "reveal" not in path) or said.get("counted") == 0, (path, found, said)
        assert await state(app) == before
        await app.execute(f"REVOKE SELECT ON crm_sync.events FROM {role_name}")
        assert (await visit.call("GET", "/events", token=TOKEN))[0] == 200
        assert (await visit.call("GET", "/events", token="limited"))[0] == 403, "it is not shown what others may read"


async def state(app):
    """What could have been changed: contacts, lanes, events."""
    return [
        await app.fetchval("SELECT jsonb_agg(to_jsonb(c) ORDER BY c.id)::text FROM contacts AS c"),
        await app.fetchval("SELECT jsonb_agg(to_jsonb(l) ORDER BY l.id)::text FROM crm_sync.lanes AS l"),
        await app.fetchval("SELECT count(*) FROM crm_sync.events WHERE event <> 'token_used'"),
    ]
