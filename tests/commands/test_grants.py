"""What `crm-sync grants` prints is enough for a worker and for an application, and no more."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from urllib.parse import urlsplit

import asyncpg
import psycopg
import pytest

from crm_sync.core.outcome import Kind
from crm_sync.core.rate import Remaining, parse
from crm_sync.core.retry import RetryPolicy
from crm_sync.core.waits import Waits
from crm_sync.daemon.recovery import Charge, Recovery
from crm_sync.errors import ConfigurationError
from crm_sync.limits.breaker import LaneBreaker
from crm_sync.limits.rate_limit import RateLimit
from crm_sync.postgres import locks
from crm_sync.postgres.pool import Database
from crm_sync.sandbox.brevo.sandbox import BrevoSandbox
from crm_sync.table.schema import read_schema
from tests.harness import ALL_COMPLETE, ScriptedCrm, running, until, until_asleep
from tests.process import ended, environment, process
from tests.roles import adopt, granted
from tests.steps import Worker, insert, open_worker, orphan, pair

# Roles belong to the whole server; this name contains everything that needs quoting.
WORKER, APPLICATION = f'crm sync "Worker" {os.getpid()}', f"crm_sync_application_{os.getpid()}"
KINDS = [Kind.DELIVERED, Kind.RETRY, Kind.REJECTED, Kind.DEFERRED, Kind.ORPHANED]


@pytest.fixture
def worker_url(url: str) -> str:
    return granted(url, WORKER)


@pytest.fixture
async def worker(worker_url: str) -> AsyncIterator[Worker]:
    async with open_worker(worker_url, 1) as worker:
        yield worker


@pytest.fixture
async def as_worker(worker_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(worker_url)
    yield connection
    await connection.close()


@pytest.fixture
async def as_application(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(granted(url, APPLICATION, "--application"))
    yield connection
    await connection.close()


# What a worker may do.


@pytest.mark.parametrize("kind", KINDS)
async def test_a_worker_claims_and_finishes(app, worker, kind):
    contact_id = await insert(app, "Queued")
    [contact] = await worker.claim()
    assert await worker.contacts.orphans([1]) == [(contact_id, contact.token, 1)]
    assert await worker.finish(contact, kind, error="A: b", remote_id="7")
    assert (await pair(app, contact_id))[0] in ("Complete", "Error", "Queued")
    await worker.contacts.line.next_due()


async def test_a_worker_lines_up_strays(app, worker):
    await app.execute("SET session_replication_role = replica")
    await insert(app, "Queued")
    assert await worker.strays.line_up(0, await worker.strays.pages()) == (1, 0)
    assert len(await worker.claim()) == 1


async def test_a_worker_recovers_the_contacts_of_dead_ones_and_forgets_them(app, worker):
    contact_id = await insert(app, "Queued")
    dead = await orphan(app)
    charges = {"brevo": Charge(worker.contacts, RetryPolicy(3, 60.0))}
    recovery = Recovery(
        worker.database,
        charges,
        on_found=lambda _: None,
        knows=lambda *_: False,
        has=lambda *_: False,
        worker=lambda: 1,
        waits=Waits(forget_worker_s=0.0),
    )
    await recovery.recover([dead])
    await recovery.recover([dead])
    assert await pair(app, contact_id) == ("Queued", "Queued")
    assert await app.fetchval("SELECT count(*) FROM crm_sync.workers WHERE id = $1", dead) == 0


async def test_a_worker_keeps_the_pace_and_works_the_gate(worker_url):
    async with Database(worker_url, size=1) as database:
        pace = RateLimit(database, "brevo", parse("1000/s 100000/h"))
        await pace.slot()
        await pace.correct([Remaining(3600.0, 10)])
        breaker = LaneBreaker("brevo", database, on_open=lambda: None, on_shut=lambda: None)
        await breaker.throttled("RATE_LIMITED", "too many requests", 0.0)
        assert await breaker.start_probe()
        await breaker.answered()
        assert breaker.open


async def test_a_worker_runs_through_its_life(app, worker_url):
    """Session, bell, claim, a normal end, and the loss of the session."""
    crm = ScriptedCrm()
    async with running(worker_url, crm):
        await until_asleep(app)
        contact = await insert(app, "Queued")
        await until(app, ALL_COMPLETE)
    assert await app.fetchval("SELECT count(*) FROM crm_sync.workers") == 0
    async with running(worker_url, crm):
        await until_asleep(app)
        await app.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'crm-sync session' AND datname = current_database()"
        )
        await insert(app, "Queued", "bob@example.com")
        await until(app, ALL_COMPLETE)
    assert len(crm.store) == 2
    assert crm.store[contact]["FIRSTNAME"] == "Ada"
    # A claim may have been lost with the session, so the worker may leave its row for others to look.
    assert await app.fetchval("SELECT bool_and(brevo_claimed_by IS NULL) FROM contacts")


async def test_a_worker_ends_a_silent_session_of_its_own(app, worker_url, as_worker):
    async with running(worker_url, ScriptedCrm(), waits=Waits(tick_s=3600.0)):
        await until_asleep(app)
        number = await app.fetchval("SELECT id FROM crm_sync.workers")
        sessions = "FROM pg_stat_activity WHERE application_name = 'crm-sync session' AND datname = current_database()"
        await app.execute(f"SELECT pg_terminate_backend(pid) {sessions}")
        await as_worker.execute("SELECT pg_advisory_lock($1, $2)", locks.WORKER, number)
        await until(app, f"count(*) = 1 {sessions}")
        await insert(app, "Queued")
        await until(app, ALL_COMPLETE)


async def test_the_process_its_status_and_its_check_run_with_these_rights(app, worker_url):
    key = "xkeysib-a-test-key"
    async with BrevoSandbox(key=key, contacts_per_second=None, contacts_per_hour=None) as brevo:
        env = environment(worker_url, BREVO_API_KEY=key, BREVO_BASE_URL=f"{brevo.url}/v3")
        async with process(env):
            await insert(app, "Queued")
            await until(app, ALL_COMPLETE)
            for arguments in (("status",), ("status", "--json"), ("check",), ("migrate", "--check")):
                async with process(env, *arguments) as command:
                    code, out, err = await ended(command)
                assert code == 0, (arguments, out, err)
    assert len(brevo.contacts) == 1


# What it may not.


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE contacts SET email = 'eve@example.com'",
        "UPDATE contacts SET id = gen_random_uuid()",
        "DELETE FROM contacts",
        "TRUNCATE contacts",
        "INSERT INTO contacts (email) VALUES ('eve@example.com')",
        "SELECT created_at FROM contacts",
        "SELECT * FROM contacts",
        "LOCK TABLE contacts IN ACCESS EXCLUSIVE MODE",
        "ALTER TABLE contacts DISABLE TRIGGER ALL",
        "SELECT * FROM invoices",
        "CREATE TABLE public.mine (id integer)",
        "CREATE TABLE crm_sync.mine (id integer)",
        "CREATE TEMPORARY TABLE mine (id integer)",
        "UPDATE crm_sync.lanes SET crm = 'other'",
        "DELETE FROM crm_sync.lanes",
        "INSERT INTO crm_sync.lanes (crm, remote_id_column) VALUES ('other', 'id')",
        "UPDATE crm_sync.workers SET pid = 1",
        "SELECT setval('crm_sync.workers_id_seq', 1)",
        "SELECT crm_sync.remove_crm('brevo')",
        "DELETE FROM crm_sync._crm_sync_migration",
    ],
)
async def test_a_worker_is_refused(app, as_worker, statement):
    await app.execute("CREATE TABLE invoices (id integer)")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with as_worker.transaction():
            await as_worker.execute(statement)


# What the mapping reads.


@pytest.fixture
def mapping(tmp_path) -> Callable[[str], str]:
    def write(expression: str) -> str:
        file = tmp_path / "mapping.toml"
        file.write_text(f'[brevo]\nX = """{expression}"""\n')
        return str(file)

    return write


async def readable(app: asyncpg.Connection, table: str = "contacts") -> set[str]:
    rows = await app.fetch(
        "SELECT attname FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped "
        "AND has_column_privilege($2, attrelid, attname, 'SELECT')",
        table,
        WORKER,
    )
    return {row[0] for row in rows}


@pytest.mark.parametrize(
    ("expression", "reads"),
    [
        ("lower(city) || 'contacts.* street'", "city"),
        ("(SELECT max(i.paid) FROM public.invoices AS i WHERE i.id::text = contacts.zip)", "zip"),
        ("to_jsonb(contacts) ->> 'street'", "street"),
        ("public.shout(state)", "state"),
    ],
)
async def test_a_worker_reads_what_the_mapping_sends_whatever_it_is_made_of(app, url, mapping, expression, reads):
    await app.execute("ALTER TABLE contacts ADD COLUMN street text")
    await app.execute("CREATE TABLE invoices (id integer, paid numeric, secret text)")
    await app.execute("CREATE FUNCTION shout(text varchar) RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN upper(text); END'")
    await app.execute("REVOKE EXECUTE ON FUNCTION shout FROM PUBLIC")
    await app.execute("INSERT INTO contacts (email, city) VALUES ('ada@example.com', 'London')")
    worker_url = granted(url, WORKER, MAPPING_FILE=mapping(expression))
    allowed = await readable(app)
    assert reads in allowed
    assert ("created_at" in allowed) == ("to_jsonb" in expression)
    assert await readable(app, "invoices") == ({"id", "paid"} if "invoices" in expression else set())
    connection = await asyncpg.connect(worker_url)
    await connection.fetch(f"SELECT {expression} FROM contacts")
    await connection.close()
    assert await app.fetchval("SELECT count(*) FROM pg_class WHERE relname = 'crm_sync_mapping'") == 0


async def test_without_a_mapping_it_reads_the_default_fields_that_the_table_has(app, url):
    await app.execute("ALTER TABLE contacts DROP COLUMN website")
    granted(url, WORKER)
    allowed = await readable(app)
    assert {"email", "first_name", "phone", "country"} <= allowed
    assert "created_at" not in allowed


async def test_a_table_in_a_schema_of_its_own_and_a_key_of_another_name(app, url):
    name = urlsplit(url).path[1:]
    await app.execute('ALTER TABLE contacts RENAME COLUMN id TO "Contact No"')
    await app.execute('CREATE SCHEMA "The App"; ALTER TABLE contacts SET SCHEMA "The App"')
    await app.execute(f'ALTER DATABASE {name} SET search_path = "The App", public')
    await asyncio.to_thread(adopt, url)  # the key has another name now
    worker_url = granted(url, WORKER)
    async with open_worker(worker_url, 1) as worker:
        other = await asyncpg.connect(url)
        await other.execute("INSERT INTO contacts (email, brevo_sync_status) VALUES ('ada@example.com', 'Queued')")
        await other.close()
        [contact] = await worker.claim()
        assert await worker.finish(contact, Kind.DELIVERED, remote_id="7")


async def test_a_role_that_does_not_exist_is_said_and_fails_the_pipe_to_psql(url):
    async with process(environment(url, owner=True), "grants", 'no % "o\'ne"') as command:
        code, out, err = await ended(command)
    assert (code, 'crm-sync: there is no role no % "o\'ne" yet: CREATE ROLE' in err) == (78, True), err
    stop, statement = out.rstrip().split("\n", 1)
    assert stop == "\\set ON_ERROR_STOP on"
    with psycopg.connect(url) as connection, pytest.raises(psycopg.errors.RaiseException, match='there is no role no % "o\'ne"'):
        connection.execute(statement.encode())


@pytest.mark.parametrize("policy", ["", "CREATE POLICY own ON contacts USING (email = current_user)"])
async def test_with_row_level_security_a_worker_starts_only_where_it_sees_every_row(app, url, policy):
    await insert(app, "Queued")
    worker_url = granted(url, WORKER)
    await app.execute(f"ALTER TABLE contacts ENABLE ROW LEVEL SECURITY; {policy}")
    async with Database(worker_url, size=1) as database:
        with pytest.raises(ConfigurationError, match="row level security"):
            await read_schema(database)
    worker_url = granted(url, WORKER)
    async with open_worker(worker_url, 1) as worker:
        [contact] = await worker.claim()
        assert await worker.finish(contact, Kind.DELIVERED, remote_id="7")


async def test_a_policy_that_restricts_is_found(app, url):
    await app.execute("ALTER TABLE contacts ENABLE ROW LEVEL SECURITY")
    await app.execute("CREATE POLICY few ON contacts AS RESTRICTIVE USING (email IS NOT NULL)")
    worker_url = granted(url, WORKER)
    async with Database(worker_url, size=1) as database:
        with pytest.raises(ConfigurationError, match="row level security"):
            await read_schema(database)


# The application.


async def test_an_application_without_rights_on_crm_sync_flips_and_is_delivered(app, url, as_application):
    crm = ScriptedCrm()
    contact = await insert(app, "New")
    worker_url = granted(url, WORKER)
    async with running(worker_url, crm):
        await until_asleep(app)  # so that the flip rings
        for requests in (1, 2):
            await as_application.execute("UPDATE contacts SET brevo_sync_status = 'Queued' WHERE id = $1", contact)
            await crm.reached(requests)
            await until(app, ALL_COMPLETE)
    assert len(crm.requests) == 2
    assert await as_application.fetchval("SELECT brevo_contact_id FROM contacts") == f"crm-{contact}"
    assert not await app.fetchval("SELECT has_schema_privilege($1, 'crm_sync', 'USAGE')", APPLICATION)


@pytest.mark.parametrize("crm", ["hubspot", "brevo", "mautic", "n8n"])
async def test_an_application_flips_every_crm(app, as_application, crm):
    await insert(app)
    assert await as_application.execute(f"UPDATE contacts SET {crm}_sync_status = 'Queued'") == "UPDATE 1"
    assert await app.fetchval(f"SELECT {crm}_due_at IS NOT NULL FROM contacts")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE contacts SET brevo_claimed_by = NULL",
        "UPDATE contacts SET brevo_contact_id = '1'",
        "SELECT email FROM contacts",
        "SELECT crm FROM crm_sync.lanes",
        "DELETE FROM crm_sync.workers",
    ],
)
async def test_an_application_is_refused(as_application, statement):
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await as_application.execute(statement)
