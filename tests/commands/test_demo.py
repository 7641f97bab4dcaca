"""The demo where it cannot run. Where it can, `make demo` tests it."""

import sys

import pytest

from crm_sync import cli
from crm_sync.sandbox import postgres


def test_without_a_postgresql_it_says_what_to_install(monkeypatch, capfd, tmp_path):
    for stream in ("stdout", "stderr"):
        monkeypatch.setattr(sys, stream, getattr(sys, stream))  # replaced by the command
    monkeypatch.setattr(postgres, "find_spec", lambda name: None)
    monkeypatch.setattr(postgres, "DEBIAN", tmp_path)
    monkeypatch.setattr("sys.argv", ["crm-sync", "demo"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == cli.EXIT_CONFIGURATION
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err == (
        "crm-sync: the demo needs PostgreSQL 18, which is not on this machine. It comes with "
        "pip install 'crm-sync-worker[demo]', or in a clone pip install '.[demo]'\n"
    )
