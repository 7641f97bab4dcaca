"""Row level security: a worker sees every row, or says that it may not; and nothing of ours is left of it."""

from contextlib import contextmanager

import asyncpg
import psycopg
import pytest
from psycopg import sql

from crm_sync.adoption.adopt import undo_plan
from crm_sync.errors import ConfigurationError
from crm_sync.postgres.pool import Database
from crm_sync.table.schema import read_schema
from tests import roles
from tests.adoption.steps import adopt, adopt_only, complete, delivering, undo, until
from tests.process import environment, process, said

PEOPLE = """
    CREATE TABLE people (id int PRIMARY KEY, email text, tenant text NOT NULL);
    INSERT INTO people SELECT n, n || '@example.com', 'tenant ' || n % 3 FROM generate_series(1, 9) AS n
"""
SECURED = """
    ALTER TABLE people ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
    CREATE POLICY of_tenants ON people USING (tenant = current_setting('app.tenant', TRUE))
"""


@contextmanager
def role(url, kind):
    """One of this kind that can sign in, and the URL to be it."""
    name = f"{kind}_{url.rpartition('/')[2]}"
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(name), roles.PASSWORD))
        try:
            yield name, roles.signed_in(url, name)
        finally:
            owner.execute(
                sql.SQL("REASSIGN OWNED BY {0} TO CURRENT_USER; DROP OWNED BY {0}; DROP ROLE {0}").format(sql.Identifier(name))
            )


async def test_rows_of_every_tenant_are_delivered_and_the_policy_goes_with_the_rest(owner, empty_url, photograph):
    await owner.execute(PEOPLE + ";" + SECURED)
    before = photograph()
    await adopt(empty_url, "people")
    with role(empty_url, "application") as (name, its_url):
        await owner.execute(f"GRANT USAGE ON SCHEMA public TO {name}; GRANT SELECT, UPDATE ON people TO {name}")
        application = await asyncpg.connect(its_url)
        async with delivering(empty_url) as crm:
            for tenant in range(3):
                await application.execute("SELECT set_config('app.tenant', $1, FALSE)", f"tenant {tenant}")
                assert await application.execute("UPDATE people SET brevo_sync_status = 'Queued'") == "UPDATE 3"
            await until(owner, "people", complete())
        await application.close()
    assert sorted(crm.store) == list(range(1, 10))
    await undo(empty_url)
    assert photograph() == before


HIDING = {
    "no policy for it": "DROP POLICY {worker} ON people",
    "one that restricts everybody": "CREATE POLICY no ON people AS RESTRICTIVE USING (tenant <> 'tenant 1')",
    "one to read only": "DROP POLICY {worker} ON people; CREATE POLICY r ON people FOR SELECT USING (true)",
    "one that hides what is written": "DROP POLICY {worker} ON people; CREATE POLICY w ON people WITH CHECK (id < 5)",
}


@pytest.mark.parametrize("change", HIDING.values(), ids=HIDING)
@pytest.mark.slow
async def test_a_worker_that_may_not_see_every_row_delivers_none_and_says_what_to_do(owner, empty_url, brevo, change):
    await owner.execute(PEOPLE + ";" + SECURED)
    await adopt(empty_url, "people")
    async with Database(roles.as_worker(empty_url), size=1) as database:
        assert (await read_schema(database)).table.name == "public.people"
        await owner.execute(change.format(worker=f'"crm_sync_{roles.WORKER}"'))
        with pytest.raises(
            ConfigurationError, match=r"may hide rows of public\.people from the role .* `crm-sync grants` prints"
        ):
            await read_schema(database)
    async with process(environment(empty_url, brevo), "run") as worker:
        faulty = await said(worker, "lane_faulty")
    assert faulty["crm"] == "brevo"
    assert "`crm-sync grants` prints" in str(faulty["reason"])


async def test_security_that_comes_after_the_adoption_is_answered_by_the_grants_again(owner, empty_url):
    await owner.execute(PEOPLE)
    await adopt(empty_url, "people")
    await owner.execute(SECURED)
    async with Database(roles.as_worker(empty_url), size=1) as database:
        with pytest.raises(ConfigurationError, match="row level security"):
            await read_schema(database)
        roles.let_in(empty_url)
        roles.let_in(empty_url)
        assert (await read_schema(database)).table.name == "public.people"


async def test_an_owner_from_whom_rows_are_hidden_does_not_undo_what_he_does_not_see(owner, empty_url):
    """A table that we have made would look empty to him, and be dropped."""
    with role(empty_url, "owner") as (name, its_url):
        database = empty_url.rpartition("/")[2]
        await owner.execute(f'GRANT CREATE ON DATABASE "{database}" TO {name}; GRANT ALL ON SCHEMA public TO {name}')
        await adopt_only(its_url)
        await owner.execute("INSERT INTO contacts (email) VALUES ('ada@example.com')")
        await owner.execute("ALTER TABLE contacts ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
        with pytest.raises(
            ConfigurationError, match=r"ALTER TABLE public\.contacts NO FORCE ROW LEVEL SECURITY, undo, and force it"
        ):
            await undo(its_url)
        assert await owner.fetchval("SELECT count(*) FROM contacts") == 1
        await owner.execute("ALTER TABLE contacts NO FORCE ROW LEVEL SECURITY")
        assert not undo_plan(its_url).lost
        await undo(its_url)
        assert await owner.fetchval("SELECT email FROM contacts") == "ada@example.com"
