"""What `crm-sync systemd` says of an installation that its unit hides from the service."""

import sys

import click.testing
import pytest

from crm_sync.cli import crm_sync


@pytest.mark.parametrize(
    ("prefix", "line"),
    [("/tmp/venv", "PrivateTmp="), ("/root/venv", "ProtectHome="), ("/home/ada/venv", "ProtectHome=")],  # noqa: S108 (not used)
)
def test_an_installation_that_a_service_cannot_see_is_told_with_the_line_that_hides_it(monkeypatch, prefix, line):
    monkeypatch.setattr(sys, "prefix", prefix)
    monkeypatch.setattr(sys, "base_prefix", "/usr")
    answer = click.testing.CliRunner().invoke(crm_sync, ["systemd"])
    assert answer.exit_code == 0
    assert f"cannot see {prefix}, because of {line} in it. Install crm-sync and its Python elsewhere" in answer.stderr
    assert f"{line}yes\n" in answer.stdout


def test_of_one_in_opt_nothing_is_told(monkeypatch):
    monkeypatch.setattr(sys, "prefix", "/opt/crm-sync")
    monkeypatch.setattr(sys, "base_prefix", "/usr")
    assert click.testing.CliRunner().invoke(crm_sync, ["systemd"]).stderr == ""
