"""The packages in docs/examples, and the page that explains one: their code runs."""

import os
import subprocess
import sys
import tomllib
from types import SimpleNamespace

import aiohttp
import pytest
from pydantic import SecretStr

from crm_sync.core.remote_schema import SentField
from crm_sync.core.values import Kind, Shape
from crm_sync.crm.http import Http
from crm_sync.testing import Answer, RoutedSandbox, TokenDesk
from tests.harness import until
from tests.manual import ROOT, blocks
from tests.process import environment, process
from tests.roles import let_in
from tests.tiers import slow

EXAMPLES = sorted(path.parent for path in ROOT.glob("docs/examples/*/pyproject.toml"))
LISTMONK = ROOT / "docs" / "examples" / "listmonk"


@pytest.fixture
def listmonk(monkeypatch):
    """Makes the package importable."""
    monkeypatch.syspath_prepend(str(LISTMONK / "src"))


def run(code):
    """The names defined by a block of the page."""
    names = {"__name__": "page"}
    exec(compile(code, "page.py", "exec"), names)  # noqa: S102 (the manual's own)
    return SimpleNamespace(**names)


async def test_the_blocks_of_the_page_do_what_it_says(listmonk):
    sandbox_block, contract_block, login_block, schema_block, forms_block = blocks("how-to/write-a-plug-in.md")
    async with run(sandbox_block).PipedriveSandbox() as sandbox, aiohttp.ClientSession(sandbox.url) as session:
        sandbox.persons[7] = {}
        for key, number, status in (("a-token", 7, 200), ("a-token", 8, 404), ("another", 7, 401)):
            path, headers = f"/persons/{number}", {"x-api-token": key}
            async with session.patch(path, json={"name": "Ada"}, headers=headers) as response:
                assert response.status == status
        assert sandbox.persons == {7: {"name": "Ada"}}
    assert run(contract_block).TestContract.fields

    form = {"grant_type": "client_credentials", "client_id": "ada", "client_secret": "a-secret-0123"}
    desk, crm = TokenDesk(form), RoutedSandbox()
    crm.add("POST", "/oauth/token", desk.login)
    crm.add("GET", "/contacts", lambda call: Answer(200 if desk.admits(call) else 401))
    settings = SimpleNamespace(example_client_id="ada", example_client_secret=SecretStr("a-secret-0123"))
    async with crm, Http(crm.url, {}) as http:
        assert (await run(login_block).login_of(http, settings).request("GET", "/contacts")).status == 200

    schema = run(schema_block).SCHEMA
    assert schema.misfits([SentField("plan", "jsonb", Shape(Kind.JSON))]) == []
    assert schema.misfits([SentField("name", "integer", Shape(Kind.SMALL))])

    forms = run(forms_block).FORMS
    opted_out = forms.members[forms.member("optedout")]
    assert (forms.clears, opted_out.opt_outs(opted_out.form(False)), opted_out.opt_outs(opted_out.form(True))) == (
        True,
        None,
        True,
    )


def test_the_contract_of_the_page_is_that_of_the_package(listmonk):
    [*_, contract_block, _, _, _] = blocks("how-to/write-a-plug-in.md")
    contract = run(contract_block).TestContract()
    contract.test_a_batch_is_delivered()
    contract.test_its_settings_begin_with_its_name()


def test_the_page_shows_the_package_as_it_is():
    whole = tomllib.loads((LISTMONK / "pyproject.toml").read_text())["project"]
    [shown] = blocks("how-to/write-a-plug-in.md", "toml")
    for name, value in tomllib.loads(shown)["project"].items():
        assert whole[name] == value


@slow
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_its_own_tests_pass(example):
    """As its author runs them: in its folder, with pytest alone."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join((str(example / "src"), str(ROOT / "worker")))}
    without = ("-p", "no:cacheprovider", "-p", "no:asyncio", "-p", "no:xdist")
    done = subprocess.run(
        (sys.executable, "-m", "pytest", "-q", *without), cwd=example, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


@slow
async def test_a_worker_delivers_to_listmonk(app, url, listmonk, tmp_path):
    """Installed like a package: its sources next to the metadata that names its entry point."""
    from crm_sync_listmonk.sandbox import TOKEN, USERNAME, ListmonkSandbox  # noqa: PLC0415 (its path is the fixture's)

    entries = tomllib.loads((LISTMONK / "pyproject.toml").read_text())["project"]["entry-points"]["crm_sync.crms"]
    metadata = tmp_path / "crm_sync_listmonk-1.0.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: crm-sync-listmonk\nVersion: 1.0.0\n")
    (metadata / "entry_points.txt").write_text(
        "[crm_sync.crms]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
    )
    people = "SELECT n || '@example.com', 'Ada ' || n FROM generate_series(1, 20) AS n"
    await app.execute(f"INSERT INTO contacts (email, first_name) {people} UNION ALL VALUES ('eve@blocked.example', 'Eve')")
    await app.execute("SELECT crm_sync.add_crm('listmonk')")
    let_in(url)
    async with ListmonkSandbox() as sandbox:
        sandbox.blocked.add("blocked.example")
        paths = os.pathsep.join((str(tmp_path), str(LISTMONK / "src"), str(ROOT / "worker")))
        env = environment(url) | {"PYTHONPATH": paths, "LISTMONK_LIST_ID": "1"}
        env |= {"LISTMONK_URL": sandbox.url, "LISTMONK_USERNAME": USERNAME, "LISTMONK_TOKEN": TOKEN}
        async with process(env):
            await app.execute("UPDATE contacts SET listmonk_sync_status = 'Queued'")
            await until(app, "count(*) FILTER (WHERE listmonk_sync_status = 'Complete') = 20 FROM contacts")
            await until(app, "bool_or(listmonk_processing_error LIKE 'REJECTED: listmonk refused%') FROM contacts")
        assert {one["name"] for one in sandbox.subscribers.values()} == {f"Ada {n}" for n in range(1, 21)}
        assert all(one["lists"] == {1: "unconfirmed"} for one in sandbox.subscribers.values())
