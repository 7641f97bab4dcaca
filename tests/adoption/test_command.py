"""crm-sync adopt does what it says it would do."""

import asyncio
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner

from crm_sync.adoption import migrations
from crm_sync.cli import crm_sync
from crm_sync.errors import ConfigurationError
from crm_sync.postgres.statements import folder
from tests.adoption.steps import adopt, adopt_only, complete, delivering, until
from tests.photograph import take
from tests.roles import WORKER, let_in
from tests.servers import running_server
from tests.tiers import slow

PEOPLE = """
    CREATE SCHEMA crm;
    CREATE TYPE crm.status AS ENUM ('New', 'Queued', 'Processing', 'Complete', 'Error', 'Archived');
    CREATE TABLE crm.people (id bigint PRIMARY KEY, "E-Mail" text, hubspot_sync_status crm.status);
    INSERT INTO crm.people SELECT n, n || '@example.com', 'Complete' FROM generate_series(1, 1000) AS n;
    ANALYZE crm.people
"""
ENVIRONMENT = {"CONTACTS_TABLE": "crm.people", "CONTACTS_EMAIL": "E-Mail"}
STEP = re.compile(r"^-- (\d+)\. (all CRMs|\w+): (\w+), (a moment|about .+?)\. (.+)\.$")
LOCK = re.compile(r"No lock on the table|(ACCESS SHARE|ROW EXCLUSIVE|SHARE|SHARE (ROW|UPDATE) EXCLUSIVE|ACCESS EXCLUSIVE)\b.+")


async def run(url, *arguments, typed=None, **settings):
    """What a command prints, in lines. Raises what it raises."""
    with ThreadPoolExecutor(1) as thread:
        invoke = [CliRunner().invoke, crm_sync, arguments]
        env = {"DATABASE_URL": url, **ENVIRONMENT, **settings}
        # As on the command line; otherwise the log of this process would look different afterwards.
        result = await asyncio.get_running_loop().run_in_executor(
            thread, lambda: invoke[0](*invoke[1:], env=env, input=typed, catch_exceptions=False)
        )
    return result.exit_code, result.output.splitlines()


def steps(lines):
    """(header, statement) of each numbered step, with the statement on one line."""
    found = []
    for line in lines:
        if line.startswith("-- ") and line[3].isdigit():
            found.append([line])
        elif line.startswith("--    ") and found and len(found[-1]) == 1:
            found[-1][0] += f" {line.removeprefix('--').strip()}"
        elif found and line and len(found[-1]) and not found[-1][-1].endswith(";"):
            found[-1].append(line.strip())
    return [(header, " ".join(rest).removesuffix(";")) for header, *rest in found]


@pytest.mark.parametrize("name", ["people", "public.people", '"People"'])
async def test_a_table_in_another_schema_is_named(owner, empty_url, name):
    await owner.execute(PEOPLE)
    with pytest.raises(ConfigurationError, match=r"Perhaps crm\.people is meant"):
        await run(empty_url, "adopt", "--plan", CONTACTS_TABLE=name)


async def test_a_plan_tells_of_a_column_that_is_too_short(owner, empty_url):
    await owner.execute(f"{PEOPLE}; ALTER TABLE crm.people ADD brevo_contact_id varchar(5)")
    code, lines = await run(empty_url, "adopt", "--plan")
    assert code == 0
    assert "The column brevo_contact_id (character varying(5)) is too short for the ids" in " ".join(map(str.strip, lines))


async def test_a_plan_changes_nothing_and_says_what_it_found_and_of_each_statement_its_lock_and_time(
    owner, empty_url, photograph
):
    await owner.execute(PEOPLE)
    before = photograph()
    code, lines = await run(empty_url, "adopt", "--plan")
    assert code == 0
    assert photograph() == before
    assert await owner.fetchval("SELECT to_regnamespace('crm_sync')") is None
    assert lines[0].startswith("Found crm.people: about 1,000 rows, ")
    assert lines[1] == "A row is identified by id (bigint), its address is E-Mail (text)."
    assert "The column hubspot_sync_status exists already and is kept as it is (crm.status" in " ".join(lines)
    assert [line for line in lines if str(folder()) not in line and len(line) > 80] == []
    for name in migrations.pending(empty_url):
        assert f"--     migrations/{name}.sql" in lines
    planned = steps(lines)
    for number, (header, _) in enumerate(planned, 1):
        match = STEP.match(header)
        assert match, header
        assert int(match[1]) == number
        assert LOCK.fullmatch(match[5]), header
    assert f"{len(planned)} steps, " in "\n".join(lines)
    assert lines[-1] == "Nothing was changed. To do it: crm-sync adopt"
    _, lines = await run(empty_url, "adopt", "--plan", "--crm", "Brevo", "--crm", "n8n")
    assert lines[-1] == "Nothing was changed. To do it: crm-sync adopt --crm brevo --crm n8n"


@pytest.fixture
def logging_server():
    """A server that logs every statement and its role."""
    with running_server(log_statement="all", log_line_prefix="%p|") as server:
        yield server


def kept(log):
    """The statements of the session with the adoption lock that changed anything and were not rolled back, one per line."""
    found = re.findall(r"^(\d+)\|LOG:  (?:statement|execute [^:]*): (.*(?:\n\t.*)*)", log, re.MULTILINE)
    adopting = {process for process, text in found if "pg_advisory_unlock" in text}
    committed, open_ones = [], None
    # Several statements may be in one message.
    texts = [" ".join(text.split()) for process, text in found if process in adopting]
    for entry in (one for text in texts for one in (text.split("; ") if text.startswith("BEGIN; ") else [text])):
        if entry == "BEGIN":
            open_ones = []
        elif entry == "ROLLBACK":
            open_ones = None
        elif entry == "COMMIT":
            committed += open_ones
            open_ones = None
        else:
            (committed if open_ones is None else open_ones).append(entry)
    reads = ("SELECT", "SET ", "WITH ", "-- ", "DEALLOCATE", "LOCK ")
    calls = ("SELECT crm_sync.create_flip_function", "SELECT crm_sync.set_installed")
    return [one for one in committed if one.startswith(calls) or not one.startswith(reads)]


PARTITIONED = PEOPLE.replace("hubspot_sync_status crm.status)", "hubspot_sync_status crm.status) PARTITION BY HASH (id)").replace(
    "INSERT INTO", "CREATE TABLE crm.people_0 PARTITION OF crm.people FOR VALUES WITH (MODULUS 1, REMAINDER 0); INSERT INTO"
)


@pytest.mark.parametrize("table", [PEOPLE, PARTITIONED], ids=["plain", "partitioned"])
@pytest.mark.slow
async def test_the_statements_that_run_are_those_that_were_planned_and_no_others(logging_server, table):
    """As logged by the server, for the adoption and for its undoing."""
    log, url = logging_server.folder / "log", logging_server.url()
    with psycopg.connect(url) as owner:
        owner.execute(table)
    before = take(logging_server, "postgres")
    for arguments in (("adopt",), ("adopt", "--undo")):
        _, lines = await run(url, *arguments, "--plan")
        planned = [statement for _, statement in steps(lines)]
        assert planned
        already = len(log.read_text())
        code, _ = await run(url, *arguments, typed="y\n")
        assert code == 0
        ran = kept(log.read_text()[already:])
        if arguments == ("adopt",):
            # Which table, and for which CRMs, is recorded in the schema crm_sync.
            entering = ("INSERT INTO crm_sync.adopted", "UPDATE crm_sync.adopted", "INSERT INTO crm_sync.lanes")
            entered = [one for one in ran if one.startswith(entering)]
            assert len(entered) == 6
            assert ran[: len(entered)] == entered
            assert ran[-1] == "ANALYZE (SKIP_LOCKED) crm_sync.adopted, crm_sync.lanes"
            ran = ran[len(entered) : -1]
        assert ran == [" ".join(statement.split()) for statement in planned]
    assert take(logging_server, "postgres") == before


async def test_what_is_shown_can_be_run_as_it_stands(owner, empty_url):
    """Wrapped, it is still valid SQL, even if names contain whitespace."""
    await owner.execute('CREATE SCHEMA "The App"; CREATE TABLE "The App"."Contact  People" (id int PRIMARY KEY, email text)')
    wanted = {"CONTACTS_TABLE": '"The App"."Contact  People"', "CONTACTS_EMAIL": "email"}
    _, lines = await run(empty_url, "adopt", "--plan", **wanted)
    await run(empty_url, "adopt", **wanted)
    await run(empty_url, "adopt", "--undo", "--yes", **wanted)
    shown = "\n".join(lines[lines.index(next(line for line in lines if line.startswith("-- 1."))) :])
    blocks = [block.splitlines() for block in shown.split("\n\n") if block.startswith("-- ")]
    statements = ["\n".join(line for line in block if not line.startswith("-- ")) for block in blocks]
    tables = [one for one in statements if one.startswith(("CREATE TYPE", "ALTER TABLE", "CREATE INDEX"))]
    assert len(tables) > 15
    for statement in tables:
        await owner.execute(statement)


@slow
async def test_the_console_script_adopts_checks_and_undoes(owner, empty_url, photograph):
    await owner.execute(PEOPLE)
    before = photograph()

    def script(*arguments, typed=""):
        env = {**os.environ, **ENVIRONMENT, "DATABASE_URL": empty_url}
        command = [Path(sys.executable).with_name("crm-sync"), *arguments]
        return subprocess.run(command, check=False, env=env, cwd="/", input=typed, capture_output=True, text=True, timeout=60)

    adopted = await asyncio.to_thread(script, "adopt")
    assert adopted.returncode == 0, adopted.stderr
    assert "To take it off again: crm-sync adopt --undo" in adopted.stdout
    again = await asyncio.to_thread(script, "adopt")
    assert again.stdout.splitlines()[-1] == "Nothing to do: everything is in place."
    checked = await asyncio.to_thread(script, "check")
    assert "columns and triggers of crm.people in place for hubspot, brevo, mautic, n8n" in " ".join(checked.stdout.split())
    refused = await asyncio.to_thread(script, "adopt", "--undo", typed="n\n")
    assert refused.returncode == 1
    assert photograph() != before
    undone = await asyncio.to_thread(script, "adopt", "--undo", typed="y\n")
    assert undone.returncode == 0, undone.stderr
    assert undone.stdout.splitlines()[-1] == "Done: nothing of crm-sync is left in this database."
    assert photograph() == before
    nothing = await asyncio.to_thread(script, "adopt", "--undo")
    assert nothing.stdout == "Nothing to undo: crm-sync is not in this database.\n"


async def test_an_undoing_names_the_roles_that_keep_what_they_were_granted(owner, empty_url):
    await owner.execute(PEOPLE)
    await run(empty_url, "adopt")
    let_in(empty_url, **ENVIRONMENT)
    _, lines = await run(empty_url, "adopt", "--undo", "--yes")
    said = " ".join(lines[lines.index("Done: nothing of crm-sync is left in this database.") + 1 :])
    assert said.startswith(f"The role {WORKER} keeps what it was granted on your table.")
    assert f"DROP OWNED BY {WORKER}; DROP ROLE {WORKER}" in said


async def test_a_table_that_was_never_analyzed_is_not_said_to_be_empty(owner, empty_url):
    await owner.execute(PEOPLE.replace("ANALYZE crm.people", "SELECT"))
    _, lines = await run(empty_url, "adopt", "--plan")
    assert re.fullmatch(r"Found crm.people: \d+ kB, PostgreSQL [\d.]+\.", lines[0])


async def test_an_undoing_says_what_is_lost_and_keeps_what_was_there(owner, empty_url):
    await owner.execute("CREATE TABLE people (id int PRIMARY KEY, email text, brevo_contact_id text)")
    await owner.execute("INSERT INTO people SELECT n, n || '@example.com' FROM generate_series(1, 4) AS n")
    await adopt(empty_url, "people")
    async with delivering(empty_url):
        await owner.execute("UPDATE people SET brevo_sync_status = 'Queued' WHERE id <= 2")
        await until(owner, "people", "count(*) FILTER (WHERE brevo_sync_status = 'Complete') = 2")
    await owner.execute("UPDATE people SET brevo_sync_status = 'Queued' WHERE id = 3")
    code, lines = await run(empty_url, "adopt", "--undo", "--plan", CONTACTS_TABLE="people")
    text = " ".join(" ".join(lines).split())
    assert code == 0
    assert "brevo: 1 contacts in line or in flight: no worker will send them" in text
    assert "brevo: 2 contacts Complete: the note of their delivery is lost" in text
    assert "by their id in brevo" not in text, "that column is the table's own, and stays"
    steps = [line for line in lines if re.match(r"-- \d+\.", line)]
    assert f"{len(steps)} steps on the table, each a moment, and the schema. A lock that holds up others is requested" in text
    assert max(map(len, lines)) <= 100
    await run(empty_url, "adopt", "--undo", "--yes")
    columns = "SELECT column_name FROM information_schema.columns WHERE table_name = 'people' ORDER BY ordinal_position"
    assert [row[0] for row in await owner.fetch(columns)] == ["id", "email", "brevo_contact_id"]
    assert await owner.fetchval("SELECT count(brevo_contact_id) FROM people") == 2


async def test_nothing_is_undone_while_a_worker_runs(owner, empty_url):
    await owner.execute("CREATE TABLE people (id int PRIMARY KEY, email text)")
    await adopt(empty_url, "people")
    async with delivering(empty_url):
        await until(owner, "crm_sync.workers", "count(*) = 1")
        _, lines = await run(empty_url, "adopt", "--undo", "--plan")
        assert any(line.startswith("These workers run, and have to be stopped first: ") for line in lines)
        with pytest.raises(ConfigurationError, match="Stop them first"):
            await run(empty_url, "adopt", "--undo", "--yes")
        await owner.execute("INSERT INTO people (id, email, brevo_sync_status) VALUES (1, 'ada@example.com', 'Queued')")
        await until(owner, "people", complete())


async def test_what_stands_on_our_columns_is_named_and_undone_once_it_is_gone(owner, empty_url, photograph):
    await owner.execute(PEOPLE)
    before = photograph()
    await run(empty_url, "adopt")
    await owner.execute("CREATE VIEW crm.delivered AS SELECT id FROM crm.people WHERE brevo_sync_status = 'Complete'")
    with pytest.raises(ConfigurationError, match=r"view crm\.delivered depends on column brevo_sync_status"):
        await run(empty_url, "adopt", "--undo", "--yes")
    await owner.execute("DROP VIEW crm.delivered")
    await run(empty_url, "adopt", "--undo", "--yes")
    assert photograph() == before


async def test_where_the_table_is_gone_all_the_rest_goes(owner, empty_url, photograph):
    before = photograph()
    await owner.execute("CREATE TABLE people (id int PRIMARY KEY, email text)")
    await adopt_only(empty_url, "people")
    await owner.execute("DROP TABLE people")
    with pytest.raises(ConfigurationError, match="the adopted table is gone: run `crm-sync adopt --undo`"):
        await run(empty_url, "adopt", CONTACTS_TABLE="people")
    _, lines = await run(empty_url, "adopt", "--undo", "--yes")
    assert lines[0] == "The adopted table is gone. What is left of crm-sync is removed too."
    assert photograph() == before


@pytest.mark.slow
async def test_crms_come_one_by_one_and_a_fifth_too(owner, empty_url, photograph):
    await owner.execute(PEOPLE)
    before = photograph()
    there = (
        "SELECT array_agg(replace(column_name, '_due_at', '') ORDER BY ordinal_position) "
        "FROM information_schema.columns WHERE table_name = 'people' AND column_name LIKE '%due_at'"
    )
    for crm, all_of_them in (
        ("brevo", ["brevo"]),
        ("hubspot", ["brevo", "hubspot"]),
        ("pipedrive", ["brevo", "hubspot", "pipedrive"]),
    ):
        code, lines = await run(empty_url, "adopt", "--crm", crm)
        assert code == 0
        assert lines[0].startswith("No client for pipedrive is installed here") == (crm == "pipedrive")
        assert await owner.fetchval(there) == all_of_them
    assert await adopt_only(empty_url) == [], "those that are there are those that are wanted"
    code, lines = await run(empty_url, "adopt", "--undo", "--crm", "brevo")
    assert code == 2
    assert "SELECT crm_sync.remove_crm('brevo')" in " ".join(lines)
    await owner.execute("SELECT crm_sync.remove_crm('brevo')")
    assert await owner.fetchval(there) == ["hubspot", "pipedrive"]
    await run(empty_url, "adopt", "--undo", "--yes")
    assert photograph() == before


@pytest.mark.slow
async def test_a_table_is_made_where_there_is_none_and_goes_again_while_it_is_empty(owner, empty_url, photograph):
    before = photograph()
    none = {"CONTACTS_TABLE": "", "CONTACTS_EMAIL": ""}
    _, lines = await run(empty_url, "adopt", "--plan", **none)
    assert lines[0] == "There is no table contacts, so one is made."
    assert any(line.endswith("create_contacts.sql") for line in lines)
    assert photograph() == before
    await run(empty_url, "adopt", **none)
    _, lines = await run(empty_url, "adopt", "--undo", "--yes", **none)
    assert "crm-sync made public.contacts, and it is empty: it is dropped." in lines
    assert photograph() == before
