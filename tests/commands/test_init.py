"""What `crm-sync init` asks, writes and refuses. `typed` contains the user's input, line by line."""

import asyncio
import os
import stat
import subprocess
import sys
import tomllib

import psycopg
import pytest
from click.testing import CliRunner

from crm_sync.adoption import adopt as adoption
from crm_sync.adoption.table import AdoptionRequest
from crm_sync.cli import crm_sync
from crm_sync.environment import Environment
from crm_sync.settings import Settings
from tests.process import KEY
from tests.tiers import slow

PEOPLE = """
    CREATE SCHEMA "My CRM";
    CREATE TABLE "My CRM"."People" (
        "personId" bigint PRIMARY KEY, "E-Mail" text, "firstName" text, surname varchar, "phoneNumber" text, "Zip" integer,
        notes text
    );
"""

# Where nothing listens.
MAUTIC = {"MAUTIC_BASE_URL": "https://127.0.0.1:1", "MAUTIC_USERNAME": "ada"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in [*os.environ]:
        if name.startswith(("DATABASE_", "CONTACTS_", "BREVO_", "HUBSPOT_", "MAUTIC_", "N8N_")):
            monkeypatch.delenv(name)
    return tmp_path


async def run(*arguments, typed=(), code=0, **env):
    """Its output as one line; in a thread, because a command runs its own event loop, and the sandbox is on this one."""
    lines, env = "".join(f"{line}\n" for line in typed), {"COLUMNS": "200", **env}
    answer = await asyncio.to_thread(CliRunner().invoke, crm_sync, ["init", *arguments], input=lines, env=env)
    said = " ".join(answer.output.split())
    if answer.exception is not None and not isinstance(answer.exception, SystemExit):
        said = str(answer.exception)
    assert answer.exit_code == code, (said, answer.exception)
    return said


def made(url, statements):
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute(statements)


def mapping(folder):
    return tomllib.loads((folder / "mapping.toml").read_text())


def brevo_settings(brevo):
    return {"BREVO_API_KEY": KEY, "BREVO_BASE_URL": f"{brevo.url}/v3", "BREVO_LIMITS": "none"}


async def test_it_takes_what_is_set_and_the_likeliest_table_without_a_question(folder, url, brevo):
    said = await run("--yes", DATABASE_URL=url, **brevo_settings(brevo))
    assert "Wrote .env, which only you can read, and mapping.toml." in said
    assert "ok brevo credentials" in said
    assert "Next: crm-sync run." in said
    assert stat.S_IMODE((folder / ".env").stat().st_mode) == 0o600
    assert mapping(folder) == {"brevo": {"email": "email", "FIRSTNAME": "first_name", "LASTNAME": "last_name", "SMS": "phone"}}
    written = Environment.capture()
    assert written.read(Settings).database_url == url
    assert written.read(Settings).mapping_file.name == "mapping.toml"
    assert written.values["brevo_api_key"] == KEY
    assert written.values["brevo_limits"] == "none"
    assert {*written.origins.values()} >= {".env"}


async def test_it_asks_for_the_database_the_table_and_each_crm(folder, empty_url, brevo):
    made(empty_url, PEOPLE + "CREATE TABLE newsletter (email text PRIMARY KEY)")
    typed = ('"My CRM"."People"', "n", "y", KEY, "n", "n")
    said = await run(typed=[empty_url, *typed], BREVO_BASE_URL=f"{brevo.url}/v3")
    assert KEY not in said
    assert 'The table is "My CRM"."People": a row is identified by personId, its address is E-Mail.' in said
    assert "crm-sync adopt --plan" in said
    written = Environment.capture().values
    assert written["contacts_table"] == '"My CRM"."People"'
    assert written["contacts_email"] == "E-Mail"
    assert written["brevo_api_key"] == KEY
    assert not [name for name in written if name.startswith("hubspot_")]
    assert mapping(folder) == {
        "brevo": {"email": '"E-Mail"', "FIRSTNAME": '"firstName"', "LASTNAME": "surname", "SMS": '"phoneNumber"'}
    }
    assert "# Not sent:\n# personId, Zip, notes\n" in (folder / "mapping.toml").read_text()


async def test_what_it_writes_is_what_adoption_and_a_check_need(folder, empty_url, brevo):
    made(empty_url, PEOPLE)
    await run("--yes", DATABASE_URL=empty_url, **brevo_settings(brevo))
    settings = Environment.capture().read(Settings)
    request = AdoptionRequest(settings.contacts_table, settings.contacts_key, settings.contacts_email, default_crms=("brevo",))
    adoption.adopt(empty_url, request)
    checked = await asyncio.to_thread(CliRunner().invoke, crm_sync, ["check"])
    assert checked.exit_code == 0, checked.output


async def test_a_wrong_answer_is_told_and_asked_again(folder, url, brevo):
    typed = ["mysql://x", url, "n", "y", "a key", KEY, "n", "n"]
    said = await run(typed=typed, BREVO_BASE_URL=f"{brevo.url}/v3")
    assert "That does not work: DATABASE_URL: expected a URL such as postgresql://" in said
    assert "That does not work: BREVO_API_KEY: expected printable ASCII" in said
    assert Environment.capture().values["brevo_api_key"] == KEY


@pytest.mark.parametrize("name", [".env", "mapping.toml"])
async def test_nothing_is_overwritten_and_nothing_is_asked(folder, name):
    (folder / name).write_text("mine")
    assert f"{name} exists already" in await run(code=1)
    assert [path.name for path in folder.iterdir()] == [name]
    assert (folder / name).read_text() == "mine"


async def test_a_link_that_leads_nowhere_is_there_too(folder):
    (folder / ".env").symlink_to(folder / "elsewhere")
    assert ".env exists already" in await run("--yes", code=1)
    assert not (folder / "elsewhere").exists()


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        (
            "CREATE TABLE a (id int PRIMARY KEY, email text); CREATE TABLE b (id int PRIMARY KEY, email text)",
            "set CONTACTS_TABLE to one",
        ),
        ("CREATE TABLE a (id int, email text)", "name it in CONTACTS_KEY"),
        ("CREATE TABLE a (id int PRIMARY KEY, mail text, email2 text)", "name it in CONTACTS_EMAIL, such as mail or email2"),
    ],
)
async def test_what_is_not_clear_is_named_where_nobody_is_asked(folder, empty_url, tables, said):
    made(empty_url, tables)
    assert said in await run("--yes", code=1, DATABASE_URL=empty_url)
    assert [*folder.iterdir()] == []


async def test_without_a_table_it_says_how_one_is_made(folder, empty_url):
    said = await run("--yes", DATABASE_URL=empty_url)
    assert "crm-sync migrate --create" in said
    assert not (folder / "mapping.toml").exists()
    assert "No CRM has credentials yet" in said


@pytest.mark.parametrize("key", ["it's", "back\\slash", 'quo"te', "$dollar", "#hash", "= =", "\\'"])
async def test_every_value_is_read_as_it_was_written(folder, url, key):
    await run(
        "--yes", code=1, DATABASE_URL=url, MAUTIC_BASE_URL="https://127.0.0.1:1", MAUTIC_USERNAME="ada", MAUTIC_PASSWORD=key
    )
    assert Environment.capture().values["mautic_password"] == key


async def test_a_value_that_such_a_file_would_change_is_refused(folder, url):
    said = await run(
        "--yes", code=1, DATABASE_URL=url, MAUTIC_BASE_URL="https://x", MAUTIC_USERNAME="ada", MAUTIC_PASSWORD="a${HOME}"
    )
    assert said.startswith("MAUTIC_PASSWORD: what is in .env between ${ and } is replaced")
    assert [*folder.iterdir()] == []


@slow
def test_as_a_process_it_says_what_is_wrong_in_a_sentence_and_exits_with_78(folder):
    command = [sys.executable, "-m", "crm_sync", "init", "--yes"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr == "crm-sync: DATABASE_URL: not set; it is required, in the form postgresql://user@host/database\n"
