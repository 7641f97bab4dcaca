"""The workflows: they are well-formed, safe, and run the same commands as people."""

import re
import sys
from pathlib import Path

import pytest

from tests.packages.built import ROOT, module, ran, tool

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def test_there_are_two():
    assert [path.name for path in WORKFLOWS] == ["ci.yml", "release.yml"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_is_pinned_by_its_hash_and_says_which_version_that_is(path):
    used = re.findall(r"uses: (?!\./)(.*)$", path.read_text(), re.MULTILINE)
    assert used
    assert [action for action in used if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+(\.\d+)+", action)] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_nothing_is_allowed_unless_a_job_says_so(path):
    assert re.search(r"^permissions: \{\}$", path.read_text(), re.MULTILINE)


def test_they_run_what_a_person_runs():
    assert "bash .ci/run" in (ROOT / ".github/workflows/ci.yml").read_text()
    assert "- run: make dist" in (ROOT / ".github/workflows/release.yml").read_text()


def test_no_secret_is_used():
    assert not any("secrets." in path.read_text() for path in WORKFLOWS)


def test_github_would_read_them(tmp_path):
    module("check_jsonschema")
    check = (sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows")
    assert "ok" in ran(*check, *WORKFLOWS, cwd=tmp_path)


def test_nothing_in_them_is_unsafe(tmp_path):
    ran(tool("zizmor"), "--offline", "--no-progress", ROOT / ".github", cwd=tmp_path)


def test_actionlint_has_nothing_to_say():
    actionlint = Path(sys.executable).with_name("actionlint")
    if not actionlint.exists():
        pytest.skip("there is no actionlint in .venv: pip install --require-hashes -r .requirements/workflows.txt")
    ran(actionlint, *WORKFLOWS, cwd=ROOT)
