"""The demo where it cannot run. Where it can, `make demo` tests it."""

import pytest

from crm_sync import cli
from crm_sync.sandbox import postgres


def test_without_a_postgresql_it_says_what_to_install(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(postgres, "find_spec", lambda name: None)
    monkeypatch.setattr(postgres, "DEBIAN", tmp_path)
    monkeypatch.setattr("sys.argv", ["crm-sync", "demo"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == cli.EXIT_CONFIGURATION
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        "crm-sync: the demo needs PostgreSQL 18, which is not on this machine. It comes with "
        "pip install 'crm-sync-worker[demo]', or in a clone pip install '.[demo]'\n"
    )
