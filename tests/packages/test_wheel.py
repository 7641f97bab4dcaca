"""The wheel: its contents, and that it works on its own, installed by pip, pipx and uv."""

import json
import sys
import zipfile
from importlib.util import find_spec

import pytest

from crm_sync import __version__
from crm_sync.cli import COMMANDS
from tests.packages.built import INSTALL, PIP, ROOT, built, constraints, module, ran, tool
from tests.tiers import slow

pytestmark = slow


@pytest.fixture(scope="module")
def wheel():
    return built()[0]


@pytest.fixture(scope="module")
def beside(wheel, tmp_path_factory):
    """A folder with the wheel and an application next to it. Its dependencies are those that the tests run with."""
    folder = tmp_path_factory.mktemp("site")
    ran(*PIP, "install", "--no-deps", "--no-index", "--target", folder, wheel, cwd=folder)
    application = folder / "worker"
    application.mkdir()
    (application / "__init__.py").write_text("NAME = 'the application'\n")
    return folder


def python(folder, *arguments):
    """Without this checkout: the paths of the tests' own installation come after the folder."""
    return ran(sys.executable, *arguments, cwd=folder, PYTHONPATH=str(folder))


def test_it_has_the_package_its_types_and_its_sql_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"crm_sync"}
    for path in ("sql/queries", "sql/migrations", "sql/adopt"):
        there = {file.relative_to(ROOT).as_posix() for file in (ROOT / path).rglob("*.sql")}
        assert {f"crm_sync/{name}" for name in there} <= set(names)
    assert "crm_sync/py.typed" in names
    assert "crm_sync/daemon/crm-sync.service" in names
    assert "crm_sync/crm/n8n/workflow.json" in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_it_lives_beside_a_package_called_worker(beside):
    code = "import worker, crm_sync; from crm_sync.models import CRMSyncStatus; print(worker.NAME, crm_sync.__file__)"
    assert python(beside, "-c", code) == f"the application {beside}/crm_sync/__init__.py"


def test_its_commands_and_its_sql_are_found(beside):
    assert python(beside, "-m", "crm_sync", "--version") == f"crm-sync, version {__version__}"
    code = "from crm_sync.postgres.statements import folder, query; query('list_lanes'); print(folder())"
    assert python(beside, "-c", code) == f"{beside}/crm_sync/sql"
    assert "crm_sync" in python(beside, "-m", "crm_sync", "systemd")


def test_the_package_index_would_take_it_and_the_sdist(tmp_path):
    module("twine")
    wheel, sdist = built()
    said = ran(sys.executable, "-m", "twine", "check", "--strict", wheel, sdist, cwd=tmp_path)
    assert said.count("PASSED") == 2


def test_it_works_in_an_environment_with_nothing_else(wheel, tmp_path):
    """With the demo, so that everything the worker imports is included: a real worker, a real PostgreSQL."""
    ran(sys.executable, "-m", "venv", "--without-pip", "bare", cwd=tmp_path)
    into = tmp_path / "bare" / "bin" / "python"
    ran(*PIP, "--python", into, *INSTALL, "--constraint", constraints(tmp_path), f"{wheel}[demo]", cwd=tmp_path)
    command = into.with_name("crm-sync")
    works(command, tmp_path)
    modules = [f"crm_sync.commands.{name.replace('-', '_')}" for name in COMMANDS]
    ran(into, "-c", f"import {', '.join(modules)}", cwd=tmp_path)
    lists_itself(into, tmp_path)
    assert "All 200 contacts ended as they should" in ran(command, "demo", "--contacts", "200", cwd=tmp_path)


def lists_itself(interpreter, folder):
    """As CycloneDX: the packages installed there."""
    if find_spec("cyclonedx_py") is None:
        return  # the tests of twine and pipx report what is missing
    ran(sys.executable, ROOT / "deploy" / "sbom.py", interpreter, folder / "sbom.json", cwd=folder)
    listed = json.loads((folder / "sbom.json").read_text())
    described = listed["metadata"]["component"]
    assert (listed["bomFormat"], described["name"], described["version"]) == ("CycloneDX", "crm-sync-worker", __version__)
    assert {"asyncpg", "aiohttp", "click"} <= {component["name"] for component in listed["components"]}
    assert not {"pip", "pytest"} & {component["name"] for component in listed["components"]}


def test_pipx_installs_it(wheel, tmp_path):
    module("pipx")
    homes = {"PIPX_HOME": str(tmp_path / "pipx"), "PIPX_BIN_DIR": str(tmp_path / "bin"), "PIPX_DEFAULT_PYTHON": sys.executable}
    how = f"--no-compile --constraint={constraints(tmp_path)}"
    ran(sys.executable, "-m", "pipx", "install", f"--pip-args={how}", wheel, cwd=tmp_path, **homes)
    works(tmp_path / "bin" / "crm-sync", tmp_path)


def test_uv_installs_it(wheel, tmp_path):
    homes = {
        "UV_TOOL_DIR": str(tmp_path / "uv"),
        "UV_TOOL_BIN_DIR": str(tmp_path / "bin"),
        "UV_CACHE_DIR": str(tmp_path / "cache"),
    }
    how = ("--python", sys.executable, "--no-python-downloads", "--constraints", constraints(tmp_path))
    ran(tool("uv"), "tool", "install", *how, wheel, cwd=tmp_path, **homes)
    works(tmp_path / "bin" / "crm-sync", tmp_path)


def works(command, folder):
    assert ran(command, "--version", cwd=folder) == f"crm-sync, version {__version__}"
    assert f"ExecStart={command} run" in ran(command, "systemd", cwd=folder)
