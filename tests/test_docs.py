"""The README says everything that is there, and nothing that is not."""

import re
from pathlib import Path

import pytest

from worker import events
from worker.cli import crm_sync
from worker.settings import BrevoSettings, LaneSettings, Settings

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
SETTINGS = [
    *(name.upper() for model in (Settings, BrevoSettings) for name in model.model_fields),
    *(f"BREVO_{name.upper()}" for name in LaneSettings.model_fields),
]
EVENTS = [value for name, value in vars(events).items() if name.isupper()]


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_is_in_the_readme(setting):
    assert f"| `{setting}` |" in README


def test_the_readme_has_no_setting_that_does_not_exist():
    assert set(re.findall(r"^\| `([A-Z_]+)` \| [^|]+ \| [^|]+ \|$", README, re.MULTILINE)) - codes() == set(SETTINGS)


@pytest.mark.parametrize("model", [Settings, BrevoSettings, LaneSettings])
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
            assert default == field.default


@pytest.mark.parametrize("command", sorted(crm_sync.commands))
def test_a_command_and_its_options_are_in_the_readme(command):
    assert f"`crm-sync {command}`" in README
    for parameter in crm_sync.commands[command].params:
        for option in parameter.opts:
            assert option in README or option in ("--yes", "--contacts")


@pytest.mark.parametrize("event", EVENTS)
def test_an_event_is_in_the_readme(event):
    assert f"`{event}`" in README


def codes() -> set[str]:
    """Every code that can stand in processing_error, from the sources."""
    sources = "".join(path.read_text() for path in (ROOT / "worker").rglob("*.py") if "sandbox" not in path.parts)
    in_outcomes = re.findall(r"(?:rejected|failed|OutageError)\(\s*\"([A-Z_]+)\"", sources)
    return {*in_outcomes, "FIELD_NOT_SENT", "WORKER_DIED"}


def test_every_code_is_in_the_readme():
    assert len(codes()) > 5
    for code in codes():
        assert f"`{code}`" in README


def test_a_make_target_in_the_readme_exists():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"make ([a-z]+)(?: |`|\n)", README):
        assert re.search(rf"^{target}:|^-? ?{target}$", makefile, re.MULTILINE) or target == "are"
