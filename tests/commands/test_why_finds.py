"""How `crm-sync why` finds the contact, what that costs, and what it says if there is none."""

import json
from concurrent.futures import ThreadPoolExecutor

import asyncpg
import pytest
from click.testing import CliRunner

from crm_sync.adoption.table import AdoptionRequest
from crm_sync.cli import crm_sync
from crm_sync.core.text import name_of
from crm_sync.errors import ConfigurationError, DatabaseTroubleError, DeclinedError
from crm_sync.postgres import locks
from crm_sync.postgres.pool import Database
from crm_sync.reports import found_contacts
from crm_sync.reports.found_contacts import find_contacts
from crm_sync.reports.named_contact import NamedContact
from crm_sync.table.schema import read_schema
from tests.commands.situations import ADDRESS, KEY
from tests.commands.test_why import why
from tests.roles import WORKER, adopt, as_worker
from tests.steps import insert


def told(url: str, *arguments: str, code: int = 0):
    return json.loads(why(url, *arguments, "--json", code=code))


async def test_every_crm_has_a_sentence_unless_one_is_named(app, url):
    key = str(await insert(app))
    [contact] = told(url, "--key", key)["contacts"]
    assert [verdict["crm"] for verdict in contact["verdicts"]] == ["hubspot", "brevo", "mautic", "n8n"]
    assert all(verdict["sentence"].endswith(".") for verdict in contact["verdicts"])
    [contact] = told(url, "--key", key, "--crm", "Mautic")["contacts"]
    assert [verdict["crm"] for verdict in contact["verdicts"]] == ["mautic"]
    assert "these are: hubspot, brevo, mautic, n8n" in why(url, "--key", key, "--crm", "nope", code=2)


@pytest.mark.parametrize("arguments", [(), ("--key", "1", "--email", "a")])
def test_wrong_usage_is_2(arguments):
    why("postgresql://x@127.0.0.1:1/x", *arguments, code=2)


NAMING = (("why",), ("history",), ("preview",), ("sync",))


@pytest.mark.parametrize("blank", ["", "   ", "\t\n"])
@pytest.mark.parametrize(
    "arguments", [*((*command, option) for command in NAMING for option in ("--email", "--key")), ("retry", "--key"), ("forget",)]
)
def test_a_blank_name_is_wrong_usage_and_asks_nothing(arguments, blank):
    env = {"DATABASE_URL": "postgresql://x@127.0.0.1:1/x"}  # nobody is there
    answer = CliRunner().invoke(crm_sync, [*arguments, blank], env=env)
    assert answer.exit_code == 2
    assert "it is empty: name a" in answer.output


def test_a_database_that_cannot_be_asked_is_69():
    said = why("postgresql://x:secret@127.0.0.1:1/x", "--key", "1", code=69)
    assert "cannot reach the database" in said
    assert "('127.0.0.1', 1). Does Postgres run there, and has DATABASE_URL" in said
    assert "secret" not in said


def test_an_adoption_that_finds_no_server_names_the_setting():
    answer = CliRunner().invoke(crm_sync, ["adopt", "--plan"], env={"DATABASE_URL": "postgresql://x:secret@127.0.0.1:1/x"})
    assert isinstance(answer.exception, DatabaseTroubleError)
    assert str(answer.exception).endswith("Has DATABASE_URL (or LISTEN_DATABASE_URL) the right host and port?")


@pytest.mark.parametrize(
    ("index", "is_read"),
    [
        ("", True),
        ("CREATE INDEX ON contacts (email)", False),
        ("CREATE INDEX ON contacts (lower(email))", False),
        ("CREATE INDEX ON contacts (lower(email)) WHERE email IS NOT NULL", False),
        ("CREATE INDEX ON contacts (email) WHERE email IS NOT NULL", False),
        ("CREATE INDEX ON contacts (lower(email)) WHERE created_at IS NOT NULL", True),
    ],
)
async def test_an_address_is_found_by_its_index_else_the_table_is_read_and_that_is_said(app, url, index, is_read, monkeypatch):
    key = str(await insert(app))
    await app.execute("ALTER TABLE contacts DROP CONSTRAINT IF EXISTS contacts_email_key")
    await app.execute("DROP INDEX IF EXISTS idx_contacts_email")
    await app.execute(index or "SELECT 1")
    monkeypatch.setattr(found_contacts, "NOTABLE_S", 3600.0)
    assert told(url, "--email", ADDRESS)["note"] is None, "it was quick"
    monkeypatch.setattr(found_contacts, "NOTABLE_S", 0.0)
    answer = told(url, "--email", f" {ADDRESS} ")
    assert ([contact["key"] for contact in answer["contacts"]], answer["found_by"]) == ([key], "address")
    assert (answer["note"] is not None) == is_read
    if is_read:
        assert "The whole table was read for the address, in" in why(url, "--email", ADDRESS)


async def test_an_address_is_found_in_any_case_whatever_its_index(app, url):
    key = str(await insert(app))
    await app.execute("CREATE INDEX ON contacts (email)")
    answer = told(url, "--email", "ADA@example.com")
    assert [contact["key"] for contact in answer["contacts"]] == [key]


async def test_all_rows_of_an_address_are_told_of(app, url):
    keys = {str(await insert(app, "New", address)) for address in (ADDRESS, ADDRESS.upper(), f" {ADDRESS}")}
    assert {contact["key"] for contact in told(url, "--email", ADDRESS)["contacts"]} == keys


async def test_a_table_that_is_too_large_to_be_read_is_told_with_what_to_do(app, url):
    await insert(app)

    class Slow(Database):
        async def fetch_within(self, _patience_s, _statement, *_arguments):
            return await super().fetch_within(0.05, "SELECT pg_sleep(5)")

    async with Slow(as_worker(url), size=1) as database:
        tables = (await read_schema(database)).lanes
        await app.execute("DROP INDEX IF EXISTS idx_contacts_email")
        await app.execute("ALTER TABLE contacts DROP CONSTRAINT IF EXISTS contacts_email_key")
        with pytest.raises(
            DeclinedError, match=r"cannot be searched .* within 10 s.*by its key, or CREATE INDEX CONCURRENTLY ON"
        ):
            await find_contacts(database, tables, NamedContact(ADDRESS, None))
    assert found_contacts.LOOK_S == 10.0


async def test_a_text_that_is_an_id_in_a_crm_finds_its_contact(app, url):
    await app.execute("SET session_replication_role = replica")
    key = str(await insert(app, "Complete"))
    await app.execute("UPDATE contacts SET brevo_contact_id = '4711', brevo_synced_at = now()")
    answer = told(url, "--key", "4711")
    assert (answer["found_by"], [contact["key"] for contact in answer["contacts"]]) == ("id in brevo", [key])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--key", KEY.format(9)), "has the key"),
        (("--key", "no such key"), "has the key no such key"),
        (("--key", "1'; DROP TABLE contacts --"), "has the key"),
        (("--email", "nobody@example.com"), "has the address nobody@example.com"),
    ],
)
async def test_who_is_not_found_was_looked_for_everywhere(app, url, arguments, said):
    await insert(app)
    answer = told(url, *arguments, code=1)
    assert answer["contacts"] == []
    text = " ".join(why(url, *arguments, code=1).split())
    assert said in text
    assert f"Looked for: {', '.join(answer['looked_for'])}." in text
    if "--key" in arguments:
        assert answer["looked_for"] == [
            "a key",
            "a deleted contact",
            *(f"an id in {crm}" for crm in ("hubspot", "brevo", "mautic", "n8n")),
        ]


async def test_a_deleted_contact_is_found_by_its_address(app, url):
    await app.execute("SELECT crm_sync.set_on_delete('brevo', 'delete')")
    await app.execute("SET session_replication_role = replica")
    key = str(await insert(app, "Complete"))
    await app.execute("UPDATE contacts SET brevo_contact_id = '4711'")
    await app.execute("SET session_replication_role = origin")
    await app.execute("DELETE FROM contacts")
    answer = told(url, "--email", ADDRESS.upper())
    assert (answer["found_by"], answer["contacts"][0]["key"]) == ("address of a deleted contact", key)
    by_crm = {verdict["crm"]: verdict["verdict"] for verdict in answer["contacts"][0]["verdicts"]}
    assert by_crm == {"hubspot": "not found", "brevo": "deleted", "mautic": "not found", "n8n": "not found"}


# Keys and tables of other shapes.


@pytest.mark.parametrize(
    ("table", "key", "asked"),
    [
        ("id integer PRIMARY KEY, email text", "7", "7"),
        ("id bigint PRIMARY KEY, email text", "7", " 7"),
        ("id varchar(5) PRIMARY KEY, email text", "'ab'", "ab"),
        ("id char(5) PRIMARY KEY, email text", "'ab'", "ab"),
        ("id uuid PRIMARY KEY, email text", f"'{KEY.format(1)}'", KEY.format(1).upper()),
        ("id date PRIMARY KEY, email text", "'2026-01-02'", "2026-01-02"),
        ("id public.code PRIMARY KEY, email public.code UNIQUE", "'ab'", "ab"),
    ],
)
async def test_a_key_of_any_type_is_found_and_stands_in_line(owner: asyncpg.Connection, empty_url, table, key, asked):
    await owner.execute("CREATE DOMAIN public.code AS varchar(20)")
    await owner.execute(f"CREATE TABLE people ({table})")
    adopt(empty_url, AdoptionRequest(table="people", crms=("brevo",)))
    await owner.execute(f"INSERT INTO people (id, email, brevo_sync_status) VALUES ({key}, 'ada@example.com', 'Queued')")
    [verdict] = told(empty_url, "--key", asked)["contacts"][0]["verdicts"]
    assert (verdict["verdict"], verdict["facts"]["line"]) == (
        "in line",
        {"has_line": True, "before": 0, "before_is_all": True, "behind": 0},
    )
    assert told(empty_url, "--email", "ada@example.com")["contacts"]


async def test_a_command_to_run_has_the_key_as_a_shell_needs_it(owner, empty_url):
    await owner.execute("CREATE TABLE people (id text PRIMARY KEY, email text)")
    adopt(empty_url, AdoptionRequest(table="people", crms=("brevo",)))
    await owner.execute("INSERT INTO people (id, email) VALUES ('$(id) & `id`', 'ada@example.com')")
    [verdict] = told(empty_url, "--key", "$(id) & `id`")["contacts"][0]["verdicts"]
    assert verdict["advice"] == "crm-sync sync --key '$(id) & `id`' --crm brevo"


async def test_a_key_that_is_too_long_for_its_type_is_not_cut(owner, empty_url):
    await owner.execute("CREATE TABLE people (id varchar(2) PRIMARY KEY, email text)")
    adopt(empty_url, AdoptionRequest(table="people", crms=("brevo",)))
    await owner.execute("INSERT INTO people (id, email) VALUES ('ab', 'ada@example.com')")
    assert told(empty_url, "--key", "abc", code=1)["contacts"] == []


async def test_a_key_that_is_an_address_is_refused_by_its_name_in_the_log(owner, empty_url):
    """`crm_sync.progress` contains no address."""
    await owner.execute("CREATE TABLE people (email text PRIMARY KEY)")
    adopt(empty_url, AdoptionRequest(table="people", crms=("brevo",)))
    await owner.execute("INSERT INTO people (email, brevo_sync_status) VALUES ('ada@example.com', 'Queued')")
    await owner.execute("INSERT INTO crm_sync.workers (id, host, pid, version) VALUES (7, 'a', 1, '0')")
    await owner.execute("SELECT pg_advisory_lock($1, 7)", locks.WORKER)
    await owner.execute(
        "INSERT INTO crm_sync.progress VALUES ('brevo', 7, now(), '{}', NULL, 'none', '{}', jsonb_build_object($1::text, 'no'))",
        name_of("ada@example.com"),
    )
    [verdict] = told(empty_url, "--key", "ada@example.com")["contacts"][0]["verdicts"]
    assert verdict["because"] == "row refused"


# Locks.


async def lock_of(app: asyncpg.Connection, key: object) -> dict | None:
    facts = await app.fetchval("SELECT facts FROM crm_sync.why($1) WHERE crm = 'brevo'", str(key))
    return json.loads(facts)["lock"]


async def test_who_has_a_row_locked_is_told_until_he_has_ended(app, other_app):
    key = await insert(app)
    for statement in ("SELECT FROM contacts FOR UPDATE", "UPDATE contacts SET first_name = 'Bea'", "DELETE FROM contacts"):
        transaction = other_app.transaction()
        await transaction.start()
        await other_app.execute(statement)
        lock = await lock_of(app, key)
        assert lock is not None
        assert lock["pid"] == other_app.get_server_pid()
        assert lock["since"] is not None
        await transaction.rollback()
        assert await lock_of(app, key) is None


async def test_of_several_who_lock_a_row_those_that_only_refer_to_it_are_left_out(app, other_app, url):
    key = await insert(app)
    third = await asyncpg.connect(url)
    async with third.transaction():
        await third.execute("SELECT FROM contacts FOR KEY SHARE")
        async with other_app.transaction():
            await other_app.execute("SELECT FROM contacts FOR NO KEY UPDATE")
            lock = await lock_of(app, key)
            assert lock is not None
            assert lock["pid"] == other_app.get_server_pid()
    await third.close()
    assert await lock_of(app, key) is None


async def test_a_lock_within_a_savepoint_is_seen(app, other_app):
    key = await insert(app)
    async with other_app.transaction(), other_app.transaction():
        await other_app.execute("SELECT FROM contacts FOR UPDATE")
        lock = await lock_of(app, key)
        assert lock is not None
        assert lock["pid"] == other_app.get_server_pid()


# History.


async def test_the_last_attempts_are_among_the_facts_where_history_is_kept(app, url):
    key = str(await insert(app, "New"))
    await app.execute(
        "INSERT INTO crm_sync.history (at, took_ms, worker, attempt, status, key, crm, operation, outcome, code, reason, "
        "request_id) "
        "SELECT now() - make_interval(mins => n), 12, 1, n, 400, $1, 'brevo', 'upsert', 'rejected', 'REJECTED', 'no', 'r-' || n "
        "FROM generate_series(1, 9) AS n",
        key,
    )
    await app.execute("SET session_replication_role = replica")
    await app.execute("UPDATE contacts SET brevo_sync_status = 'Error', brevo_processing_error = 'REJECTED: no'")
    [verdict] = told(url, "--key", key, "--crm", "brevo")["contacts"][0]["verdicts"]
    assert [attempt["attempt"] for attempt in verdict["facts"]["attempts"]] == [1, 2, 3, 4, 5]
    assert "Its id for the CRM's support: r-1." in verdict["sentence"]
    assert why(url, "--key", key, "--crm", "brevo").count("rejected, REJECTED, status 400, 12 ms") == 5
    # A role that may not read it is told the rest.
    await app.execute(f'REVOKE SELECT ON crm_sync.deliveries FROM "{WORKER}"')
    [verdict] = told(as_worker(url), "--key", key, "--crm", "brevo")["contacts"][0]["verdicts"]
    assert verdict["facts"]["attempts"] == []


# Rights.


async def test_a_role_without_the_rights_is_told_who_gives_them(app, url):
    key = str(await insert(app))
    await app.execute(f'REVOKE EXECUTE ON FUNCTION crm_sync.why(text) FROM "{WORKER}"')
    answer = refused(as_worker(url), "--key", key)
    assert f"the role {WORKER} of DATABASE_URL may not ask why" in answer
    assert "crm-sync grants" in answer
    await app.execute("DROP FUNCTION crm_sync.why(text)")
    assert "run `crm-sync migrate`" in refused(url, "--key", key)


async def test_a_column_that_may_not_be_read_is_told_by_its_name(app, url):
    key = str(await insert(app))
    await app.execute(f'REVOKE SELECT (brevo_attempts) ON contacts FROM "{WORKER}"')
    [verdict] = told(as_worker(url), "--key", key, "--crm", "brevo")["contacts"][0]["verdicts"]
    assert (verdict["verdict"], verdict["because"]) == ("misconfigured", "rights")
    assert "may not read the column brevo_attempts" in verdict["sentence"]


async def test_it_reads_only(app, url):
    key = str(await insert(app, "Queued"))
    async with app.transaction(readonly=True):
        assert len(await app.fetch("SELECT * FROM crm_sync.why($1)", key)) == 4


def refused(url: str, *arguments: str) -> str:
    """The sentence of a ConfigurationError, which `main` prints."""
    with ThreadPoolExecutor(1) as thread:
        env = {"DATABASE_URL": url}
        answer = thread.submit(CliRunner().invoke, crm_sync, ["why", *arguments], env=env).result()
    assert isinstance(answer.exception, ConfigurationError), answer.output
    return str(answer.exception)
