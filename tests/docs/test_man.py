"""The man pages: every command and every setting, in valid troff."""

import importlib.util
import shutil
import subprocess

import pytest

from crm_sync.cli import COMMANDS, EXIT_CONFIGURATION, EXIT_FAILED
from crm_sync.commands import retry, status, why
from crm_sync.exit_codes import EXIT_CODES
from tests.manual import ROOT
from tests.test_docs import SETTINGS


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The folder that they were written to."""
    spec = importlib.util.spec_from_file_location("man", ROOT / "deploy" / "man.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = tmp_path_factory.mktemp("man")
    module.main(str(folder))
    return folder


def test_every_command_has_a_page(pages):
    assert {path.name for path in pages.glob("*.1")} == {"crm-sync.1", *(f"crm-sync-{name}.1" for name in COMMANDS)}


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_setting_is_in_the_page_of_settings(pages, setting):
    assert f"\n\\fB{setting}\\fR\n" in (pages / "crm-sync.env.5").read_text()


def test_every_exit_code_is_in_the_page_of_all(pages):
    text = (pages / "crm-sync.1").read_text()
    assert all(f"\\fB{code}\\fR" in text for code, _, _ in EXIT_CODES)


def test_the_exit_codes_are_those_of_the_commands():
    ours = {EXIT_FAILED, EXIT_CONFIGURATION, retry.EXIT_LEFT, retry.EXIT_INTERRUPTED, status.EXIT_UNAVAILABLE, why.EXIT_NOT_FOUND}
    assert ours | {status.EXIT_NEEDS_A_PERSON, why.EXIT_UNAVAILABLE} <= {code for code, _, _ in EXIT_CODES}


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed here")
def test_troff_has_nothing_to_warn_of(pages):
    said = subprocess.run(
        ["groff", "-man", "-ww", "-z", "-Tutf8", *sorted(pages.iterdir())], capture_output=True, text=True, check=True
    )
    assert said.stderr == ""
