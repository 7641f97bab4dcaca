"""The wheel, as somebody installs it who has an application with a package called `worker`."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.tiers import slow

pytestmark = slow

ROOT = Path(__file__).parents[1]
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
TIMEOUT_S = 120


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([*PIP, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, ROOT], check=True, timeout=TIMEOUT_S)
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A folder with the wheel and an application beside it. Its dependencies are those that the tests run with."""
    folder = tmp_path_factory.mktemp("site")
    subprocess.run([*PIP, "install", "--no-deps", "--no-index", "--target", folder, wheel], check=True, timeout=TIMEOUT_S)
    application = folder / "worker"
    application.mkdir()
    (application / "__init__.py").write_text("NAME = 'the application'\n")
    return folder


def ran(installed, *arguments):
    """Without this checkout: the paths of the tests' own installation come after the folder."""
    env = {"PYTHONPATH": str(installed), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, *arguments], env=env, cwd=installed, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


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


def test_it_lives_beside_a_package_called_worker(installed):
    code = "import worker, crm_sync; from crm_sync.models import CRMSyncStatus; print(worker.NAME, crm_sync.__file__)"
    assert ran(installed, "-c", code) == f"the application {installed}/crm_sync/__init__.py"


def test_its_commands_and_its_sql_are_found(installed):
    assert ran(installed, "-m", "crm_sync", "--version").startswith("crm-sync, version ")
    code = "from crm_sync.postgres.statements import folder, query; query('list_lanes'); print(folder())"
    assert ran(installed, "-c", code) == f"{installed}/crm_sync/sql"
    assert "crm_sync" in ran(installed, "-m", "crm_sync", "systemd")
