"""The README says everything that is there, and nothing that is not."""

import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from crm_sync import events
from crm_sync.cli import COMMANDS, crm_sync
from crm_sync.core.codes import Code
from crm_sync.settings import (
    BrevoSettings,
    HubSpotSettings,
    LaneSettings,
    MauticSettings,
    N8nSettings,
    Settings,
    TransportSettings,
)

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
MODELS = [Settings, TransportSettings, HubSpotSettings, BrevoSettings, MauticSettings, N8nSettings]
SETTINGS = [
    *(name.upper() for model in MODELS for name in model.model_fields),
    *(f"BREVO_{name.upper()}" for name in LaneSettings.model_fields),
]
EVENTS = [value for name, value in vars(events).items() if name.isupper()]


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_is_in_the_readme(setting):
    assert f"| `{setting}` |" in README


def test_the_readme_has_no_setting_that_does_not_exist():
    assert set(re.findall(r"^\| `([A-Z0-9_]+)` \| [^|]+ \| [^|]+ \|$", README, re.MULTILINE)) - set(Code) == set(SETTINGS)


@pytest.mark.parametrize("model", [*MODELS, LaneSettings])
def test_a_default_in_the_readme_is_the_real_one(model):
    for name, field in model.model_fields.items():
        setting = f"BREVO_{name.upper()}" if model is LaneSettings else name.upper()
        match = re.search(rf"^\| `{setting}` \| ([^|]+) \|", README, re.MULTILINE)
        assert match is not None
        default = match[1].strip("` ")
        if isinstance(field.default, bool):
            assert default == str(field.default).lower()
        elif isinstance(field.default, int | float):
            assert float(default) == field.default
        elif isinstance(field.default, str):
            assert default == (field.default or "none")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_and_its_options_are_in_the_readme(command):
    assert f"`crm-sync {command}`" in README
    found = crm_sync.get_command(click.Context(crm_sync), command)
    assert found is not None
    for parameter in found.params:
        for option in parameter.opts:
            assert option in README or option in ("--yes", "--contacts", "code")


@pytest.mark.parametrize("event", EVENTS)
def test_an_event_is_in_the_readme(event):
    assert f"`{event}`" in README


@pytest.mark.parametrize("code", Code)
def test_a_code_is_in_the_readme_with_what_it_means_and_what_to_do(code):
    if code.lane:
        assert f"`{code}`" in README
    else:
        retried = "yes" if code.retried else "no"
        assert f"| `{code}` | {code.meaning} | {code.remedy} | {retried} |" in README


def test_every_code_in_the_sources_is_in_the_catalogue():
    sources = "".join(path.read_text() for path in (ROOT / "worker").rglob("*.py") if "sandbox" not in path.parts)
    called = re.findall(r"(?:Outcome\.\w+|[a-z]\w*Error)\(\s*(?:Code\.(\w+)|\"([A-Z][A-Z0-9_]+)\")", sources)
    assert not [literal for _, literal in called if literal], "codes are members of Code, not texts"
    assert len({member for member, _ in called}) > 10
    assert {member for member, _ in called if member} <= set(Code.__members__)


def test_every_code_is_used():
    sources = "".join(path.read_text() for path in (ROOT / "worker").rglob("*.py") if path.name != "codes.py")
    assert [code for code in Code if f"Code.{code}" not in sources] == []


def test_a_code_is_explained_on_the_command_line():
    runner = CliRunner()
    for code in Code:
        answer = runner.invoke(crm_sync, ["errors", code.lower()])
        assert answer.exit_code == 0
        assert code.meaning in answer.output
        assert code.remedy in answer.output
    assert runner.invoke(crm_sync, ["errors", "REJECTED: as it stands in the row"]).exit_code == 0
    everything = runner.invoke(crm_sync, ["errors"], env={"COLUMNS": "200"}).output
    assert all(code in everything for code in Code)
    unknown = runner.invoke(crm_sync, ["errors", "NOPE"])
    assert unknown.exit_code == 2
    assert "NOPE is no code" in unknown.output


def test_a_make_target_in_the_readme_exists():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"make ([a-z]+)(?: |`|\n)", README):
        assert re.search(rf"^{target}:|^-? ?{target}$", makefile, re.MULTILINE) or target == "are"
