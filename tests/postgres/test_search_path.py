"""Roles that may create objects in a schema must not have their SQL run by roles that merely have it on their search_path."""

import asyncio
import os
import re

import asyncpg
import pytest

from crm_sync.adoption.adopt import undo
from crm_sync.adoption.table import AdoptionRequest
from crm_sync.errors import ConfigurationError
from crm_sync.postgres.pool import Database
from crm_sync.table.schema import read_schema
from tests.harness import ScriptedCrm, running, until
from tests.process import ended, environment, process
from tests.roles import WORKER, adopt, as_worker, migrate
from tests.steps import insert
from tests.tiers import slow

# For texts, because the caller has public on the path.
COMPLETE = "bool_and(brevo_sync_status::text = 'Complete') FROM contacts"
EVE, BOSS = f"eve_{os.getpid()}", f"boss_{os.getpid()}"

# Makes its creator a superuser when a superuser runs it.
TRAP = f"""
    IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN
        EXECUTE 'ALTER ROLE {EVE} SUPERUSER';
    END IF;
"""
EQUAL_STATES = f"""
    CREATE FUNCTION public.eq(a crm_sync_status, b crm_sync_status) RETURNS boolean LANGUAGE plpgsql AS $$
    BEGIN {TRAP} RETURN a::text OPERATOR(pg_catalog.=) b::text; END $$;
    CREATE OPERATOR public.= (FUNCTION = public.eq, LEFTARG = crm_sync_status, RIGHTARG = crm_sync_status);
"""
JOINED_TEXTS = f"""
    CREATE FUNCTION public.joined(a name, b text) RETURNS text LANGUAGE plpgsql AS $$
    BEGIN {TRAP} RETURN a::text OPERATOR(pg_catalog.||) b; END $$;
    CREATE OPERATOR public.|| (FUNCTION = public.joined, LEFTARG = name, RIGHTARG = text);
"""
# Others of the kind: most columns have a type without operators and functions of its own in pg_catalog.
EQUAL_VARCHARS = f"""
    CREATE FUNCTION public.eq(a varchar, b varchar) RETURNS boolean LANGUAGE plpgsql AS $$
    BEGIN {TRAP} RETURN a::text OPERATOR(pg_catalog.=) b::text; END $$;
    CREATE OPERATOR public.= (FUNCTION = public.eq, LEFTARG = varchar, RIGHTARG = varchar);
"""
TRIMMED = f"""
    CREATE FUNCTION public.btrim(a varchar, b text) RETURNS text LANGUAGE plpgsql AS $$
    BEGIN {TRAP} RETURN pg_catalog.btrim(a::text, b); END $$;
"""
NAMED = f"""
    CREATE FUNCTION public.format(a text, b name, c name) RETURNS text LANGUAGE plpgsql AS $$
    BEGIN {TRAP} RETURN pg_catalog.format(a, VARIADIC ARRAY[b::text, c::text]); END $$;
"""


@pytest.fixture
async def admin(server):
    connection = await asyncpg.connect(server.url())
    for role in (EVE, BOSS):
        await connection.execute(f"CREATE ROLE {role} LOGIN")
    await connection.execute(f"ALTER ROLE {BOSS} SUPERUSER")
    yield connection
    for role in (EVE, BOSS):
        for database in await connection.fetch(
            "SELECT datname FROM pg_database WHERE datname LIKE $1", f"crm_sync_test_{os.getpid()}_%"
        ):
            other = await asyncpg.connect(server.url(database["datname"]))
            await other.execute(f"DROP OWNED BY {role} CASCADE")
            await other.close()
        await connection.execute(f"DROP ROLE {role}")
    await connection.close()


def of(url, role):
    return re.sub(r"//[^@]*@", f"//{role}@", url)


async def lay(app, trap):
    """As eve, who may create in public, as every role may in databases that came from PostgreSQL 14."""
    await app.execute(f"GRANT CREATE, USAGE ON SCHEMA public TO {EVE}; SET ROLE {EVE}")
    await app.execute(trap)
    await app.execute("RESET ROLE")


async def is_sprung(admin):
    return await admin.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = $1", EVE)


async def assert_armed(admin, url, statement):
    """A superuser with the usual path triggers it: this shows that the test can fail."""
    victim = await asyncpg.connect(of(url, BOSS))
    await victim.execute("SET search_path = public")
    await victim.fetch(statement)
    await victim.close()
    assert await is_sprung(admin)


STATES = "SELECT 'New'::public.crm_sync_status = 'Queued'"
VARCHARS = "SELECT 'a'::varchar = 'b'::varchar"


@pytest.mark.parametrize(("trap", "armed"), [(EQUAL_STATES, STATES), (EQUAL_VARCHARS, VARCHARS)], ids=["states", "varchars"])
async def test_a_worker_that_is_a_superuser_runs_nothing_of_who_may_create_in_public(app, url, admin, trap, armed):
    await lay(app, trap)
    crm = ScriptedCrm()
    async with running(of(url, BOSS), crm):
        await insert(app, "Queued")
        await until(app, COMPLETE)
    assert not await is_sprung(admin)
    await assert_armed(admin, url, armed)


@pytest.mark.parametrize(
    ("trap", "armed"),
    [
        (EQUAL_STATES, STATES),
        (EQUAL_VARCHARS, VARCHARS),
        (TRIMMED, "SELECT btrim('a'::varchar, E' ')"),
        (JOINED_TEXTS, "SELECT 'a'::name || 'b'::text"),
    ],
    ids=["states", "varchars", "function", "texts"],
)
@slow
async def test_no_command_does_either(app, url, admin, brevo, trap, armed):  # noqa: PLR0917 (fixtures)
    await insert(app, "Queued")
    await lay(app, trap)
    for command in (
        ("check",),
        ("status",),
        ("failed",),
        ("retry", "--yes"),
        ("preview", "--email", "ada@example.com"),
        ("sync", "--email", "ada@example.com", "--crm", "brevo"),
        ("watch", "brevo", "--columns", "email"),
        ("on-delete", "brevo", "delete"),
        ("pause", "brevo", "--reason", "x"),
        ("grants", WORKER),
        ("migrate",),
        ("adopt", "--plan"),
        ("adopt", "--undo", "--yes"),
    ):
        async with process(environment(of(url, BOSS), brevo, owner=True), *command) as asked:
            _, out, err = await ended(asked)
        assert "Traceback" not in err, (command, out, err)
        assert not await is_sprung(admin), command
    await assert_armed(admin, url, armed)


@pytest.mark.parametrize(
    ("trap", "armed"), [(JOINED_TEXTS, "SELECT 'a'::name || 'b'::text"), (NAMED, "SELECT format('%s%s', 'a'::name, 'b'::name)")]
)
async def test_an_adoption_by_a_superuser_runs_nothing_of_who_may_create_in_public(owner, empty_url, admin, trap, armed):
    await owner.execute("CREATE TABLE public.contacts (id int PRIMARY KEY, email varchar)")
    await lay(owner, trap)
    await asyncio.to_thread(adopt, of(empty_url, BOSS))
    await asyncio.to_thread(undo, of(empty_url, BOSS))
    assert not await is_sprung(admin)
    await assert_armed(admin, empty_url, armed)


@pytest.mark.parametrize(
    "made",
    [
        "CREATE DOMAIN public.crm_sync_status AS text",
        "CREATE TYPE public.crm_processing_status AS ENUM ('Queued', 'Processing', 'Complete', 'Error')",
    ],
)
async def test_a_type_of_who_may_create_in_public_is_not_taken_for_ours(owner, empty_url, admin, made):
    await owner.execute("CREATE TABLE public.contacts (id int PRIMARY KEY, email varchar)")
    await lay(owner, made)
    with pytest.raises(ConfigurationError, match=rf"the type public\.crm_\w+ exists already and belongs to {EVE}"):
        await asyncio.to_thread(adopt, empty_url)
    assert await owner.fetchval("SELECT to_regnamespace('crm_sync')") is None


async def test_a_schema_of_somebody_else_is_not_worked_in(owner, empty_url, admin):
    await owner.execute(
        f"CREATE TABLE public.contacts (id int PRIMARY KEY, email varchar); CREATE SCHEMA crm_sync AUTHORIZATION {EVE}"
    )
    for step in (adopt, undo):
        with pytest.raises(ConfigurationError, match=rf"the schema crm_sync belongs to {EVE}, .*: run this as {EVE}"):
            await asyncio.to_thread(step, of(empty_url, BOSS))


@slow
async def test_a_table_without_a_schema_is_found_by_the_roles_own_path(owner, empty_url):
    name = empty_url.rpartition("/")[2]
    await owner.execute("CREATE SCHEMA app; CREATE TABLE app.people (id int PRIMARY KEY, email text)")
    for url in (f"{empty_url}?options=-c%20search_path%3Dapp", f"{empty_url}?schema=app"):
        async with process(environment(url, owner=True, CONTACTS_TABLE="people"), "adopt", "--plan") as planning:
            code, out, err = await ended(planning)
        assert code == 0, err
        assert "Found app.people" in out
    await owner.execute(f"ALTER DATABASE {name} SET search_path = app")
    async with process(environment(empty_url, owner=True, CONTACTS_TABLE="people"), "adopt") as adopting:
        assert (await ended(adopting))[0] == 0
    await asyncio.to_thread(migrate, empty_url, AdoptionRequest("app.people"))
    for url in (empty_url, as_worker(empty_url)):
        async with Database(url, size=1) as database:
            assert (await read_schema(database, "people")).table.name == "app.people"
            assert (await read_schema(database, "app.people")).table.name == "app.people"


async def test_without_a_table_one_is_made_where_the_role_makes_its_tables(owner, empty_url):
    await owner.execute("CREATE SCHEMA app")
    url = f"{empty_url}?schema=app"
    async with process(environment(url, owner=True), "migrate", "--create") as making:
        code, _, err = await ended(making)
    assert code == 0, err
    assert await owner.fetchval("SELECT to_regclass('app.contacts') IS NOT NULL AND to_regclass('public.contacts') IS NULL")


# A type like citext, made from what every server has.
CODE = """
    CREATE SCHEMA ext;
    CREATE TYPE ext.code;
    CREATE FUNCTION ext.code_in(cstring) RETURNS ext.code LANGUAGE internal IMMUTABLE STRICT AS 'textin';
    CREATE FUNCTION ext.code_out(ext.code) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'textout';
    CREATE FUNCTION ext.code_recv(internal) RETURNS ext.code LANGUAGE internal IMMUTABLE STRICT AS 'textrecv';
    CREATE FUNCTION ext.code_send(ext.code) RETURNS bytea LANGUAGE internal IMMUTABLE STRICT AS 'textsend';
    CREATE TYPE ext.code (
        INPUT = ext.code_in, OUTPUT = ext.code_out, RECEIVE = ext.code_recv, SEND = ext.code_send, LIKE = text, CATEGORY = 'S',
        COLLATABLE = true
    );
    CREATE CAST (ext.code AS text) WITHOUT FUNCTION AS IMPLICIT;
    CREATE CAST (text AS ext.code) WITHOUT FUNCTION AS ASSIGNMENT;
    CREATE FUNCTION ext.eq(ext.code, ext.code) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'texteq';
    CREATE FUNCTION ext.ne(ext.code, ext.code) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'textne';
    CREATE FUNCTION ext.lt(ext.code, ext.code) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'text_lt';
    CREATE FUNCTION ext.le(ext.code, ext.code) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'text_le';
    CREATE FUNCTION ext.gt(ext.code, ext.code) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'text_gt';
    CREATE FUNCTION ext.ge(ext.code, ext.code) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'text_ge';
    CREATE FUNCTION ext.cmp(ext.code, ext.code) RETURNS integer LANGUAGE internal IMMUTABLE STRICT AS 'bttextcmp';
    CREATE OPERATOR ext.= (FUNCTION = ext.eq, LEFTARG = ext.code, RIGHTARG = ext.code, COMMUTATOR = OPERATOR(ext.=), MERGES);
    CREATE OPERATOR ext.<> (FUNCTION = ext.ne, LEFTARG = ext.code, RIGHTARG = ext.code, NEGATOR = OPERATOR(ext.=));
    CREATE OPERATOR ext.< (FUNCTION = ext.lt, LEFTARG = ext.code, RIGHTARG = ext.code);
    CREATE OPERATOR ext.<= (FUNCTION = ext.le, LEFTARG = ext.code, RIGHTARG = ext.code);
    CREATE OPERATOR ext.> (FUNCTION = ext.gt, LEFTARG = ext.code, RIGHTARG = ext.code);
    CREATE OPERATOR ext.>= (FUNCTION = ext.ge, LEFTARG = ext.code, RIGHTARG = ext.code);
    CREATE OPERATOR CLASS ext.code_ops DEFAULT FOR TYPE ext.code USING btree AS
        OPERATOR 1 ext.<, OPERATOR 2 ext.<=, OPERATOR 3 ext.=, OPERATOR 4 ext.>=, OPERATOR 5 ext.>,
        FUNCTION 1 ext.cmp(ext.code, ext.code);
"""


async def test_a_key_of_an_extensions_type_is_compared_by_its_index(owner, empty_url):
    await owner.execute(CODE + "CREATE TABLE public.contacts (id ext.code PRIMARY KEY, email text, first_name text)")
    await owner.execute("INSERT INTO contacts SELECT 'c' || n, n || '@example.com' FROM generate_series(1, 2000) AS n")
    await asyncio.to_thread(migrate, empty_url)
    crm = ScriptedCrm()
    async with running(empty_url, crm):
        await owner.execute("UPDATE contacts SET brevo_sync_status = 'Queued' WHERE id::text IN ('c7', 'c8')")
        await until(owner, "count(*) = 2 FROM contacts WHERE brevo_sync_status = 'Complete'")
    assert {request[0].id for request in crm.requests} == {"c7", "c8"}
    async with Database(as_worker(empty_url), size=1) as database:
        variables = (await read_schema(database)).lanes["brevo"].variables
        assert variables["is"] == "OPERATOR(ext.=)"
        plan = await database.fetch(
            f"EXPLAIN SELECT FROM public.contacts WHERE id {variables['is']} ANY ('{{c7,c8}}'::ext.code[])"
        )
    assert any("Index Cond" in row[0] for row in plan), plan


async def test_beside_a_row_that_takes_no_claim_others_with_such_a_key_are_claimed(owner, empty_url):
    await owner.execute(CODE + "CREATE TABLE public.contacts (id ext.code PRIMARY KEY, email text, first_name text)")
    await owner.execute("INSERT INTO contacts SELECT 'c' || n, n || '@example.com' FROM generate_series(1, 9) AS n")
    await asyncio.to_thread(migrate, empty_url)
    await owner.execute("""
        UPDATE contacts SET brevo_sync_status = 'Queued';
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
        CREATE TRIGGER refuse BEFORE UPDATE ON contacts FOR EACH ROW WHEN (OLD.id::text = 'c3') EXECUTE FUNCTION refuse()
    """)
    async with running(empty_url, ScriptedCrm()):
        await until(owner, "count(*) = 8 FROM contacts WHERE brevo_sync_status = 'Complete'")


async def test_triggers_of_the_tables_own_and_functions_of_the_mapping_are_run_by_the_roles_own_path(app, url, tmp_path):
    """They are like any application's, and name their tables as their session does."""
    await app.execute("""
        CREATE TABLE audit (email text);
        GRANT USAGE ON SCHEMA public TO PUBLIC;
        GRANT INSERT, SELECT ON audit TO PUBLIC;
        CREATE FUNCTION audited() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN INSERT INTO audit SELECT NEW.email WHERE current_setting('is_superuser') = 'off'; RETURN NEW; END $$;
        CREATE TRIGGER audited BEFORE UPDATE ON contacts FOR EACH ROW EXECUTE FUNCTION audited();
        CREATE FUNCTION counted(text) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
        BEGIN RETURN (SELECT count(*) FROM audit WHERE email = $1); END $$
    """)
    mapping = tmp_path / "mapping.toml"
    mapping.write_text('[brevo]\nCOUNT = "public.counted(email)"\n')
    crm = ScriptedCrm()
    async with running(url, crm, mapping_file=mapping):
        for number in range(2):
            await app.execute("SET session_replication_role = replica; DELETE FROM contacts; RESET session_replication_role")
            await insert(app, "Queued", f"{number}@example.com")
            await until(app, COMPLETE)
    assert [request[0].fields["COUNT"] for request in crm.requests] == [0, 0]
    # A claim and a finish each.
    assert await app.fetchval("SELECT count(*) FROM audit") == 4


async def test_a_full_look_runs_triggers_by_the_roles_own_path_and_finds_rows_by_such_keys(owner, empty_url):
    """Among what it repairs are contacts in flight without a worker, in a partitioned table: rows there are found by key."""
    await owner.execute(
        CODE
        + """
        CREATE TABLE public.contacts (id ext.code PRIMARY KEY, email text, first_name text) PARTITION BY RANGE (id);
        CREATE TABLE public.contacts_all PARTITION OF public.contacts DEFAULT;
        INSERT INTO contacts SELECT 'c' || n, n || '@example.com' FROM generate_series(1, 3) AS n
    """
    )
    await asyncio.to_thread(migrate, empty_url)
    await owner.execute("""
        CREATE TABLE public.audit (email text);
        GRANT USAGE ON SCHEMA public TO PUBLIC;
        GRANT INSERT ON audit TO PUBLIC;
        CREATE FUNCTION public.audited() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN INSERT INTO audit VALUES (NEW.email); RETURN NEW; END $$;
        CREATE TRIGGER audited BEFORE UPDATE ON contacts FOR EACH ROW EXECUTE FUNCTION public.audited();
        SET session_replication_role = replica;
        UPDATE contacts SET brevo_sync_status = 'Processing', brevo_processing_status = 'Processing', brevo_attempts = 1,
            brevo_claimed_by = (7777::bigint << 32) | 1, brevo_due_at = CASE WHEN id::text <> 'c1' THEN now() END
    """)
    async with running(empty_url, ScriptedCrm()):
        await until(owner, "count(*) = 3 FROM contacts WHERE brevo_sync_status = 'Complete'")


@slow
async def test_what_the_mapping_needs_is_named_or_told_and_who_may_create_there_too(app, url, admin, brevo, tmp_path):
    await app.execute("CREATE FUNCTION public.shout(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT upper($1)'")
    mapping = tmp_path / "mapping.toml"
    mapping.write_text('[brevo]\nFIRSTNAME = "shout(first_name)"\n')

    async def checked(**settings):
        async with process(environment(url, brevo, MAPPING_FILE=str(mapping), **settings), "check") as checking:
            code, out, _ = await ended(checking)
        return code, " ".join(out.split())

    code, said = await checked()
    assert code == 1
    assert "function shout(character varying) does not exist. Qualify what is not Postgres's own with its schema" in said
    assert "MAPPING_SEARCH_PATH" in said
    code, said = await checked(MAPPING_SEARCH_PATH="public")
    assert code == 0, said
    assert "warning sessions" not in said
    await app.execute(f"GRANT CREATE ON SCHEMA public TO {EVE}")
    code, said = await checked(MAPPING_SEARCH_PATH="public, nowhere")
    assert code == 0
    assert f"{EVE} may create in public, which is on MAPPING_SEARCH_PATH, and so have SQL run as {WORKER}" in said
    assert "MAPPING_SEARCH_PATH: there is no schema nowhere" in said
    await app.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")
    _, said = await checked(MAPPING_SEARCH_PATH="public")
    assert "everybody may create in public" in said
    # Schema-qualified names need no path.
    mapping.write_text('[brevo]\nFIRSTNAME = "public.shout(first_name)"\n')
    code, said = await checked()
    assert code == 0, said
    assert "sessions" not in said


async def test_through_a_pooler_check_asks_for_what_a_worker_cannot_set(app, url, admin, brevo):
    """The pool is told that it goes through a pooler, and so sets nothing."""
    name = url.rpartition("/")[2]
    settings = {"DATABASE_BEHIND_POOLER": "true"}
    await app.execute(f"GRANT CREATE ON SCHEMA public TO {EVE}")
    await app.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'")

    async def checked():
        async with process(environment(url, brevo, **settings), "check") as checking:
            code, out, _ = await ended(checking)
        return code, " ".join(out.split())

    code, said = await checked()
    assert code == 0
    assert f"{EVE} may create in public" in said
    assert f"ALTER ROLE {WORKER} SET search_path = pg_catalog, pg_temp" in said
    assert f"ALTER ROLE {WORKER} SET default_transaction_isolation = 'read committed'" in said
    try:
        await app.execute(f"ALTER ROLE {WORKER} IN DATABASE {name} SET search_path = pg_catalog, pg_temp")
        await app.execute(f"ALTER ROLE {WORKER} IN DATABASE {name} SET default_transaction_isolation = 'read committed'")
        code, said = await checked()
        assert code == 0
        assert "sessions" not in said
    finally:
        await app.execute(f"ALTER ROLE {WORKER} IN DATABASE {name} RESET ALL")
