"""The packages in docs/examples: their own tests pass, and a worker delivers with them."""

import os
import subprocess
import sys
import tomllib

import pytest

from tests.harness import until
from tests.manual import ROOT, blocks
from tests.process import environment, process
from tests.roles import let_in
from tests.tiers import slow

EXAMPLES = sorted(path.parent for path in ROOT.glob("docs/examples/*/pyproject.toml"))
LISTMONK = ROOT / "docs" / "examples" / "listmonk"
SOURCES = os.pathsep.join(str(ROOT / path) for path in ("docs/examples/listmonk/src", "worker"))


def test_there_is_an_example():
    assert LISTMONK in EXAMPLES


def test_the_page_has_what_the_package_has():
    whole = tomllib.loads((LISTMONK / "pyproject.toml").read_text())
    [shown] = blocks("how-to/write-a-plug-in.md", "toml")
    for name, value in tomllib.loads(shown)["project"].items():
        assert whole["project"][name] == value
    code = "".join(blocks("how-to/write-a-plug-in.md"))
    for line in ('return [Record(str(one["id"]), one["email"], {"name": one["name"], **one["attribs"]}) for one in found]',):
        assert line in code
        assert line in (LISTMONK / "tests" / "test_contract.py").read_text()


@slow
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_its_own_tests_pass(example, tmp_path):
    """As its author runs them: pytest alone, in its folder."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join((str(example / "src"), str(ROOT / "worker")))}
    command = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio", "-p", "no:xdist")
    done = subprocess.run(command, cwd=example, env=env, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


@slow
async def test_a_worker_delivers_to_listmonk(app, url, tmp_path):
    """Installed as a package is: its sources beside the metadata that names its entry point."""
    [(name, value)] = tomllib.loads((LISTMONK / "pyproject.toml").read_text())["project"]["entry-points"]["crm_sync.crms"].items()
    metadata = tmp_path / "crm_sync_listmonk-1.0.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: crm-sync-listmonk\nVersion: 1.0.0\n")
    (metadata / "entry_points.txt").write_text(f"[crm_sync.crms]\n{name} = {value}\n")
    sys.path.insert(0, str(LISTMONK / "src"))
    try:
        from crm_sync_listmonk.sandbox import TOKEN, USERNAME, ListmonkSandbox  # noqa: PLC0415
    finally:
        sys.path.remove(str(LISTMONK / "src"))
    await app.execute(
        "INSERT INTO contacts (email, first_name) SELECT n || '@example.com', 'Ada ' || n FROM generate_series(1, 20) n"
    )
    await app.execute("INSERT INTO contacts (email, first_name) VALUES ('eve@blocked.example', 'Eve')")
    await app.execute("SELECT crm_sync.add_crm('listmonk')")
    let_in(url)
    async with ListmonkSandbox() as sandbox:
        sandbox.blocked.add("blocked.example")
        env = environment(url) | {"PYTHONPATH": os.pathsep.join((str(tmp_path), SOURCES))}
        env |= {"LISTMONK_URL": sandbox.url, "LISTMONK_USERNAME": USERNAME, "LISTMONK_TOKEN": TOKEN, "LISTMONK_LIST_ID": "1"}
        async with process(env):
            await app.execute("UPDATE contacts SET listmonk_sync_status = 'Queued'")
            await until(app, "count(*) FILTER (WHERE listmonk_sync_status = 'Complete') = 20 FROM contacts")
            await until(app, "bool_or(listmonk_processing_error LIKE 'REJECTED: listmonk refused the contact%') FROM contacts")
        assert {one["name"] for one in sandbox.subscribers.values()} == {f"Ada {n}" for n in range(1, 21)}
        assert all(one["lists"] == {1: "unconfirmed"} for one in sandbox.subscribers.values())
