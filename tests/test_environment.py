"""What is read of the environment, .env and credentials, and what is said where it cannot be."""

import os

import pytest

from crm_sync.crm.brevo.settings import BrevoSettings
from crm_sync.environment import Environment, read, read_lane
from crm_sync.errors import ConfigurationError
from crm_sync.settings import LaneSettings, Settings


@pytest.fixture
def outside(monkeypatch, tmp_path):
    """Nothing is set yet. A folder for credentials is next to the one with .env."""
    for name in ("DATABASE_URL", "BREVO_LIST_ID", "BREVO_LIMITS", "BREVO_API_KEY", "SHUTDOWN_GRACE_S"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "credentials").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    return tmp_path


def list_id():
    return Environment.capture().read(BrevoSettings).brevo_list_id


def test_the_environment_outweighs_env_and_that_the_credentials(outside, monkeypatch):
    assert list_id() is None
    (outside / "credentials" / "BREVO_LIST_ID").write_text("1\n")
    assert list_id() == 1
    (outside / ".env").write_text("BREVO_LIST_ID=2\n")
    assert list_id() == 2
    monkeypatch.setenv("BREVO_LIST_ID", "3")
    assert list_id() == 3


def test_what_is_empty_counts_as_not_set(outside, monkeypatch):
    (outside / "credentials" / "BREVO_LIST_ID").write_text("1")
    (outside / ".env").write_text("BREVO_LIST_ID=\nBREVO_API_KEY\n")
    monkeypatch.setenv("BREVO_LIST_ID", "")
    assert list_id() == 1


def test_names_are_taken_in_any_case(outside, monkeypatch):
    (outside / "credentials" / "brevo_list_id").write_text("1")
    monkeypatch.setenv("Database_Url", "postgresql://one/two")
    environment = Environment.capture()
    assert environment.read(BrevoSettings).brevo_list_id == 1
    assert environment.read(Settings).database_url == "postgresql://one/two"


def test_a_lane_has_the_name_of_its_crm_before_its_settings(outside):
    (outside / ".env").write_text("BREVO_LIMITS=1/s\nLIMITS=2/s\nHUBSPOT_SYNC_MAX_RETRIES=7\n")
    environment = Environment.capture()
    assert environment.read_lane("brevo").limits == "1/s"
    assert environment.read_lane("hubspot") == LaneSettings(sync_max_retries=7)


def test_a_wrong_setting_is_named_without_its_value(outside):
    (outside / ".env").write_text("BREVO_CONCURRENCY=secret\nBREVO_BATCH_SIZE=0\nDATABASE_URL=mysql://secret\n")
    environment = Environment.capture()
    with pytest.raises(ConfigurationError, match=r"^BREVO_CONCURRENCY: .* integer.*; BREVO_BATCH_SIZE: ") as lane:
        environment.read_lane("brevo")
    with pytest.raises(ConfigurationError, match=r"^DATABASE_URL: expected a URL such as postgresql://") as worker:
        environment.read(Settings)
    assert "secret" not in f"{lane.value}{worker.value}"


def test_what_is_missing_is_said_to_be_required(outside):
    with pytest.raises(
        ConfigurationError, match=r"^DATABASE_URL: not set; it is required, in the form postgresql://user@host/database$"
    ):
        Environment.capture().read(Settings)


def test_a_credential_that_cannot_be_read_matters_to_those_who_ask_for_it(outside):
    environment = Environment({"database_url": "postgresql://one/two"}, {"brevo_api_key": "Permission denied"})
    assert environment.read(Settings).database_url == "postgresql://one/two"
    with pytest.raises(ConfigurationError, match=r"^\.env or a credential cannot be read: Permission denied$"):
        environment.read(BrevoSettings)


def test_a_credential_of_others_need_be_no_text_nor_a_file_in_the_folder(outside):
    credentials = outside / "credentials"
    (credentials / "BREVO_LIST_ID").write_text("1")
    (credentials / "tls.key").write_bytes(b"\xff\xfe\x00")
    (credentials / "folder").mkdir()
    (outside / "elsewhere").write_text("sixty")
    (credentials / "SHUTDOWN_GRACE_S").symlink_to(outside / "elsewhere")
    (outside / ".env").write_text("DATABASE_URL=postgresql://one/two\n")
    assert list_id() == 1
    assert Environment.capture().read(Settings).shutdown_grace_s == 20


def test_who_reads_without_one_gets_the_one_in_force(outside):
    """So do the accounts of other packages, by over_http."""
    (outside / ".env").write_text("BREVO_LIST_ID=1\nBREVO_LIMITS=1/s\n")
    first = Environment.capture()
    (outside / ".env").write_text("BREVO_LIST_ID=2\nBREVO_LIMITS=2/s\n")
    with first.in_force():
        assert (read(BrevoSettings).brevo_list_id, read_lane("brevo").limits) == (1, "1/s")
    assert (read(BrevoSettings).brevo_list_id, read_lane("brevo").limits) == (2, "2/s")


def test_an_env_of_another_user_or_one_that_everybody_may_write_to_is_refused_with_what_to_do(outside, monkeypatch):
    """It says where keys are sent, and is that of whatever folder one stands in."""
    env = outside / ".env"
    env.write_text("BREVO_LIST_ID=1\n")
    assert list_id() == 1
    env.chmod(0o666)
    with pytest.raises(ConfigurationError, match=rf"^anyone can write to {env}.*: chmod o-w {env}$"):
        list_id()
    env.chmod(0o660)
    assert list_id() == 1
    monkeypatch.setattr("os.geteuid", lambda: env.stat().st_uid + 4242)
    if env.stat().st_uid == 0:
        os.chown(env, 4243, -1)
    with pytest.raises(ConfigurationError, match=rf"^{env} belongs to another user \(.+\), .*: chown \d+ {env}$"):
        list_id()


def test_a_link_of_another_user_is_no_better_than_his_file(outside):
    if os.geteuid() != 0:
        pytest.skip("only root can give a link away")
    (outside / "own").write_text("BREVO_LIST_ID=1\n")
    (outside / ".env").symlink_to(outside / "own")
    assert list_id() == 1
    os.chown(outside / ".env", 4243, -1, follow_symlinks=False)
    with pytest.raises(ConfigurationError, match=r"\.env belongs to another user \(4243\)"):
        list_id()


def test_a_byte_order_mark_is_no_part_of_a_file(outside):
    (outside / ".env").write_text("\ufeffBREVO_LIST_ID=2\nDATABASE_URL=postgresql://one/two\n")
    (outside / "credentials" / "BREVO_API_KEY").write_text("\ufeffxkeysib-one\n")
    environment = Environment.capture()
    settings = environment.read(BrevoSettings)
    assert settings.brevo_list_id == 2
    assert settings.brevo_api_key.get_secret_value() == "xkeysib-one"


def test_an_env_that_is_not_utf_8_is_named_without_what_stands_in_it(outside):
    (outside / ".env").write_text("BREVO_API_KEY=xkeysib-one\n", encoding="utf-16")
    with pytest.raises(ConfigurationError, match=rf"^{outside}/.env is not UTF-8: save it as UTF-8$"):
        Environment.capture()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("BREVO_API_KEY: xkeysib-one\n", 1),
        ("# keys\n\nBREVO_API_KEY xkeysib-one\n", 3),
        ("BREVO_LIST_ID=2\nBREVO_API_KEY='xkeysib-one\nDATABASE_URL=postgresql://one/two\n", 2),
        ('BREVO_API_KEY="xkeysib-one"two\r\n', 1),
        ("set BREVO_API_KEY=xkeysib-one\n", 1),
        ("- BREVO_API_KEY=xkeysib-one\n", 1),
    ],
    ids=["a colon", "no sign", "an open quote", "after a quote", "a command", "a list"],
)
def test_a_line_of_an_env_that_sets_nothing_is_named_without_what_stands_in_it(outside, text, line):
    (outside / ".env").write_bytes(text.encode())
    with pytest.raises(ConfigurationError) as caught:
        Environment.capture()
    expected = f"{outside}/.env, line {line}: expected NAME=value, and a closing quote for each opening one"
    assert str(caught.value) == expected


def test_what_an_env_may_have_besides_settings(outside, capfd):
    (outside / ".env").write_text(
        "# a comment\r\n\r\nexport BREVO_LIST_ID = 2 # the newsletter\r\n"
        "OTHERS=\"of several\nlines\"\r\nBREVO_API_KEY='xkeysib-one'\r\n"
    )
    settings = Environment.capture().read(BrevoSettings)
    assert (settings.brevo_list_id, settings.brevo_api_key.get_secret_value()) == (2, "xkeysib-one")
    assert capfd.readouterr().err == ""
