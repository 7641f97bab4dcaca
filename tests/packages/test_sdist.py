"""The sdist: unpacked anywhere, `make` does what it does in a checkout."""

import subprocess
import sys
import sysconfig
import tarfile

import pytest

from crm_sync import __version__
from tests.packages.built import ROOT, built, ran
from tests.tiers import slow

pytestmark = slow


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(built()[1]) as archive:
        archive.extractall(folder, filter="data")
    return folder / f"crm_sync_worker-{__version__}"


def tracked():
    """The files of the checkout; in an unpacked sdist, without git, the existing files."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return {name for name in listed.stdout.splitlines() if (ROOT / name).exists()}


def test_it_has_every_file_of_the_checkout_and_no_other(unpacked):
    there = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*") if path.is_file()}
    if not (ours := tracked()):
        pytest.skip("there is no checkout here to compare it with")
    assert ours - there == set()
    assert there - ours == {"PKG-INFO"}


@pytest.fixture(scope="module")
def made(unpacked):
    """After `make setup`, without downloads: the dependencies are those that the tests run with."""
    environment = unpacked / ".venv"
    ran(sys.executable, "-m", "venv", "--without-pip", environment, cwd=unpacked)
    libraries = next(environment.glob("lib/python*/site-packages"))
    (libraries / "tests-dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    ours = environment / "bin" / "python"
    # This folder comes before the packages that the tests run with.
    (libraries / "_before.pth").write_text(f"{unpacked}/worker\n")
    (environment / "bin" / "crm-sync").write_text(f"#!{ours}\nfrom crm_sync.cli import main\n\nmain()\n")
    (environment / "bin" / "pytest").write_text(f"#!{ours}\nimport sys\n\nimport pytest\n\nsys.exit(pytest.console_main())\n")
    for name in ("crm-sync", "pytest"):
        (environment / "bin" / name).chmod(0o755)
    (environment / "ready").touch()
    return unpacked


def test_make_demo_works_in_it(made):
    assert "All 200 contacts ended as they should" in ran("make", "demo", "CONTACTS=200", cwd=made)


def test_make_test_works_in_it(made):
    """A few tests, with the manual and a server, as all would take minutes; the comparison above shows that all are there."""
    said = ran("make", "test", "JOBS=2", "REPORT=tests/test_docs.py -k manual", cwd=made)
    assert " passed" in said
    assert "skipped" not in said
