"""The configuration is read once, and only what is needed of it has to be right."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from click.testing import CliRunner

from crm_sync.cli import crm_sync
from crm_sync.configuration import load, load_for_worker
from crm_sync.core.rate import parse
from crm_sync.crm.registry import OWN, Crm
from crm_sync.daemon.installation import plan_lane
from crm_sync.errors import ConfigurationError
from crm_sync.postgres.pool import Database
from crm_sync.table.schema import inspect_schema
from tests.roles import as_worker

WRONG = {"BREVO_BASE_URL": "http://example.com", "BREVO_API_KEY": "key", "BREVO_LIMITS": "many", "MAPPING_FILE": "/nonexistent"}


@pytest.fixture
def folder(monkeypatch, tmp_path):
    for name in ("DATABASE_URL", "MAPPING_FILE", *WRONG, "BREVO_SYNC_MAX_RETRIES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


async def test_files_that_change_while_they_are_read_give_no_halves_of_two_versions(url, folder):
    """SIGHUP, while somebody edits them: what is read last is of the version of what is read first."""

    def edit(number):
        (folder / ".env").write_text(
            f"DATABASE_URL={as_worker(url)}\nSHUTDOWN_GRACE_S={number}\nMAPPING_FILE=mapping.toml\n"
            f"BREVO_API_KEY=key-{number}\nBREVO_LIMITS={number}/s\nBREVO_SYNC_MAX_RETRIES={number}\n"
        )
        (folder / "mapping.toml").write_text(f"[brevo]\nFIRSTNAME = \"'{number}'\"\n")

    edit(1)
    # Its account is read before that of Brevo.
    editor = Crm("editor", lambda: edit(2))
    configuration = load_for_worker(lambda: {"editor": editor, "brevo": OWN["brevo"]})
    assert configuration.of_lane("editor") is None
    async with Database(as_worker(url), size=1) as database:
        plan = await plan_lane(database, await inspect_schema(database), configuration.of_lane("brevo"))
    assert configuration.settings.shutdown_grace_s == 1
    assert plan.account.windows == parse("1/s")
    assert plan.settings.sync_max_retries == 1
    assert configuration.mapping == {"brevo": {"FIRSTNAME": "'1'"}}

    again = load_for_worker(lambda: {"editor": editor, "brevo": OWN["brevo"]})
    assert again.settings.shutdown_grace_s == 2
    assert again.account("brevo").windows == parse("2/s")
    assert again.mapping == {"brevo": {"FIRSTNAME": "'2'"}}


@pytest.mark.parametrize("name", ["MAPPING_FILE", "HTTP_ALLOWED_HOSTS"])
def test_a_worker_needs_what_all_lanes_share(folder, monkeypatch, name):
    settings = {
        "DATABASE_URL": "postgresql://one/two",
        "MAPPING_FILE": "",
        name: {**WRONG, "HTTP_ALLOWED_HOSTS": "http://n8n"}[name],
    }
    for setting, value in settings.items():
        monkeypatch.setenv(setting, value)
    with pytest.raises(ConfigurationError, match=f"^{name}: "):
        load_for_worker()


@pytest.mark.parametrize("name", ["BREVO_BASE_URL", "BREVO_LIMITS"])
def test_what_is_wrong_with_one_crm_is_no_matter_until_its_lane_is_asked_for(folder, monkeypatch, name):
    for setting, value in {"DATABASE_URL": "postgresql://one/two", "BREVO_API_KEY": "key", name: WRONG[name]}.items():
        monkeypatch.setenv(setting, value)
    configuration = load_for_worker()
    assert configuration.of_lane("hubspot") is None
    with pytest.raises(ConfigurationError, match=f"^{name}: "):
        configuration.of_lane("brevo")


def test_a_wrong_setting_of_a_crm_matters_to_those_who_ask_for_it(folder, monkeypatch):
    for setting, value in {"DATABASE_URL": "postgresql://one/two", **WRONG}.items():
        monkeypatch.setenv(setting, value)
    configuration = load()
    assert configuration.lane("hubspot").limits is None
    assert configuration.account("hubspot") is None
    assert configuration.account("unheard of") is None
    assert configuration.default_fields("brevo") == OWN["brevo"].default_fields
    for ask in (lambda: configuration.account("brevo"), lambda: configuration.lane("brevo")):
        with pytest.raises(ConfigurationError, match=r"^BREVO_"):
            ask()
    with pytest.raises(ConfigurationError, match=r"^MAPPING_FILE: "):
        _ = configuration.mapping


@pytest.mark.parametrize(
    "arguments",
    [
        ("status",),
        ("pause", "brevo", "--reason", "a wrong key"),
        ("resume", "brevo"),
        ("retry", "--preview"),
        ("unwatch", "brevo"),
        ("on-delete", "brevo"),
        ("migrate",),
        ("adopt", "--plan"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_command_that_needs_the_database_alone_is_not_stopped_by_a_wrong_setting_of_a_crm(url, folder, arguments):
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(CliRunner().invoke, crm_sync, arguments, env={"DATABASE_URL": url, **WRONG}).result()
    assert answer.exit_code == 0, (answer.output, answer.exception)
