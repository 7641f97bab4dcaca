"""What `crm-sync settings` lists: every setting, its current value and origin; and no secrets."""

import re

import pytest
from click.testing import CliRunner

from crm_sync.cli import crm_sync
from crm_sync.crm.registry import OWN
from crm_sync.settings import LaneSettings, ProxySettings, Settings, TransportSettings

SECRETS = {
    "DATABASE_URL": "postgresql://ada:s3cret-1@host/db",
    "LISTEN_DATABASE_URL": "postgresql://host/db?user=ada&password=s3cret-2",
    "HTTPS_PROXY": "http://ada:s3cret-3@proxy:3128",
    "HUBSPOT_ACCESS_TOKEN": "s3cret-4",
    "BREVO_API_KEY": "s3cret-5",
    "MAUTIC_BASE_URL": "https://ada:s3cret-6@mautic.example.com",
    "MAUTIC_USERNAME": "ada",
    "MAUTIC_PASSWORD": "s3cret-7",
    "MAUTIC_CLIENT_SECRET": "s3cret-8",
    "N8N_WEBHOOK_URL": "https://n8n.example.com/webhook/s3cret-9",
    "N8N_HEADER_VALUE": "s3cret-10",
    "N8N_JWT_SECRET": "s3cret-11" * 4,
    "N8N_SIGNING_SECRET": "s3cret-12",
    "N8N_PASSWORD": "s3cret-13",
    "BREVO_APIKEY": "s3cret-14",
}


@pytest.fixture
def said(tmp_path, monkeypatch):
    """Runs it in its own folder, with only the given settings. (exit code, output)"""
    monkeypatch.chdir(tmp_path)
    for name in ("DATABASE_URL", "CREDENTIALS_DIRECTORY", "HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)

    def run(**env):
        answer = CliRunner().invoke(crm_sync, ["settings"], env={"COLUMNS": "150", **env})
        return answer.exit_code, answer.output

    return run


def row(text, name):
    [found] = re.findall(rf"^{name} +(.*?) +(environment|\.env|credential|default) *$", text, re.MULTILINE)
    return found


def test_every_setting_is_listed(said):
    _, text = said(DATABASE_URL="postgresql://host/db")
    models = [Settings, TransportSettings, ProxySettings, *(crm.settings for crm in OWN.values())]
    names = [name for model in models for name in model.model_fields]
    names += [f"{crm}_{name}" for crm in OWN for name in LaneSettings.model_fields]
    for name in names:
        row(text, name.upper())


def test_where_each_value_is_from_is_said_and_the_one_with_effect_is_shown(said, tmp_path):
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    for name, value in {"BREVO_PLAN": "extended", "BREVO_LIST_ID": "1", "BREVO_BATCH_SIZE": "1"}.items():
        (credentials / name).write_text(value)
    (tmp_path / ".env").write_text("BREVO_LIST_ID=2\nBREVO_BATCH_SIZE=2\nLOG_LEVEL=warning\n")
    code, text = said(DATABASE_URL="postgresql://host/db", CREDENTIALS_DIRECTORY=str(credentials), BREVO_BATCH_SIZE="3")
    assert code == 0, text
    assert row(text, "BREVO_PLAN") == ("extended", "credential")
    assert row(text, "BREVO_LIST_ID") == ("2", ".env")
    assert row(text, "BREVO_BATCH_SIZE") == ("3", "environment")
    assert row(text, "LOG_LEVEL") == ("warning", ".env")
    assert row(text, "HUBSPOT_PLAN") == ("starter", "default")
    assert row(text, "MAPPING_FILE") == ("none", "default")
    assert row(text, "HUBSPOT_LIMITS") == ("those of the plan", "default")
    assert "they have no effect without BREVO_API_KEY: no contact goes to brevo from here" in " ".join(text.split())


def test_no_secret_is_shown(said):
    code, text = said(**SECRETS)
    assert "s3cret" not in text
    assert row(text, "DATABASE_URL") == ("postgresql://ada:***@host/db", "environment")
    assert row(text, "N8N_WEBHOOK_URL") == ("https://n8n.example.com/***", "environment")
    assert "BREVO_APIKEY is set, but is not a setting of crm-sync: BREVO_API_KEY may be meant" in text
    assert code == 1, "Mautic has two logins"


def test_what_is_wrong_is_said_with_its_group_and_exits_with_1(said):
    code, text = said(BREVO_LIST_ID="many", MAUTIC_PASSWORD="s3cret")
    assert code == 1
    assert "wrong: DATABASE_URL: not set; it is required, in the form postgresql://user@host/database" in text
    assert re.search(r"wrong: BREVO_LIST_ID: .*integer", text)
    assert re.search(r"wrong: MAUTIC_", text)
    assert "s3cret" not in text
