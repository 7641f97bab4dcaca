"""A table that cannot be adopted is refused with what to do, and the database is unchanged."""

import asyncio
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql

from crm_sync.adoption import adopt as adoption
from crm_sync.adoption.table import AdoptionRequest
from crm_sync.errors import ConfigurationError
from tests.adoption.steps import adopt, adopt_only
from tests.process import environment
from tests.roles import for_all
from tests.tiers import slow

TABLE = "CREATE TABLE t (id int PRIMARY KEY, email text); INSERT INTO t VALUES (1, 'a'), (2, 'b');"
PARTS = (
    "CREATE TABLE t (id int NOT NULL, at date NOT NULL, email text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);"
    "CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');"
)
COMPOSITE = "CREATE TABLE t (tenant int, number int, email text, PRIMARY KEY (tenant, number));"

FOREIGN = "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w;"
BY_STATUS = (
    "CREATE TABLE t (id int, email text, brevo_sync_status text, PRIMARY KEY (id, brevo_sync_status))"
    " PARTITION BY LIST (brevo_sync_status); CREATE TABLE t_1 PARTITION OF t DEFAULT"
)

REFUSED = {
    "there is no such table": (TABLE, AdoptionRequest("people"), "CONTACTS_TABLE: there is no table people"),
    "that is not the name of a table": (
        TABLE,
        AdoptionRequest("no such name"),
        "no such name",
    ),
    "a view": (
        TABLE + "CREATE VIEW v AS SELECT * FROM t",
        AdoptionRequest("v"),
        "public.v is a view: only a table can be adopted",
    ),
    "a materialized view": (
        TABLE + "CREATE MATERIALIZED VIEW v AS SELECT * FROM t",
        AdoptionRequest("v"),
        "is a materialized view",
    ),
    "a view named contacts": ("CREATE VIEW contacts AS SELECT 1 AS id", AdoptionRequest(), "public.contacts is a view"),
    "a foreign table": (
        FOREIGN + "CREATE FOREIGN TABLE t (id int, email text) SERVER s",
        AdoptionRequest("t"),
        "public.t is a foreign table",
    ),
    "a partition that is a foreign table": (
        FOREIGN
        + "CREATE TABLE u (id int, email text) PARTITION BY LIST (id); CREATE FOREIGN TABLE u_1 PARTITION OF u DEFAULT SERVER s",
        AdoptionRequest("u", key="id"),
        "has partitions that are foreign tables, which cannot have crm-sync's triggers: detach them first",
    ),
    "a partition": (PARTS, AdoptionRequest("t_1", key="id"), "public.t_1 is a partition: adopt the table that it belongs to"),
    "a table with heirs": (TABLE + "CREATE TABLE u () INHERITS (t)", AdoptionRequest("t"), "make them partitions, or adopt one"),
    "no primary key": (
        "CREATE TABLE t (id int, email text)",
        AdoptionRequest("t"),
        "has no primary key: name the column that identifies a row",
    ),
    "a key of two columns": (
        COMPOSITE,
        AdoptionRequest("t"),
        "has a primary key of several columns (tenant, number): name the column",
    ),
    "a key that is no column": (TABLE, AdoptionRequest("t", key="uid"), "CONTACTS_KEY: public.t has no column uid"),
    "a key that may be NULL": (
        TABLE + "ALTER TABLE t ADD uid int UNIQUE",
        AdoptionRequest("t", key="uid"),
        'CONTACTS_KEY: uid can be NULL: ALTER TABLE public.t ALTER COLUMN "uid" SET NOT NULL',
    ),
    "a key that nothing keeps unique": (
        COMPOSITE,
        AdoptionRequest("t", key="tenant"),
        'from having the same tenant: CREATE UNIQUE INDEX CONCURRENTLY ON public.t ("tenant")',
    ),
    "a key that only some rows have alone": (
        TABLE + "ALTER TABLE t ADD uid int NOT NULL DEFAULT 1; CREATE UNIQUE INDEX ON t (uid) WHERE id = 1",
        AdoptionRequest("t", key="uid"),
        "nothing keeps two rows of public.t from having the same uid",
    ),
    "a key that two partitions have": (
        PARTS + "INSERT INTO t VALUES (1, '2026-01-01', 'a'), (1, '2026-01-02', 'b')",
        AdoptionRequest("t", key="id"),
        "CONTACTS_KEY: several rows of public.t have the same id, so it does not identify a row",
    ),
    "a key without an index": (
        "CREATE TABLE t (id int NOT NULL, email text) PARTITION BY LIST (id); CREATE TABLE t_1 PARTITION OF t DEFAULT",
        AdoptionRequest("t", key="id"),
        "no index begins with id, so looking up a row would read the whole table: CREATE INDEX ON public.t",
    ),
    "a key that is an array": (
        "CREATE TABLE t (id int[] PRIMARY KEY, email text)",
        AdoptionRequest("t"),
        "the key id of public.t is of the type integer[], and a key has to be one simple value: name another column",
    ),
    "a key that is a multirange": (
        "CREATE TABLE t (id int4multirange PRIMARY KEY, email text)",
        AdoptionRequest("t"),
        "the key id of public.t is of the type int4multirange, and a key has to be one simple value",
    ),
    "a key that is a domain over an array": (
        "CREATE DOMAIN steps AS text[]; CREATE TABLE t (id steps PRIMARY KEY, email text)",
        AdoptionRequest("t"),
        "and a key has to be one simple value",
    ),
    "a key of several fields": (
        "CREATE TYPE pair AS (a int, b int); CREATE TABLE t (id pair PRIMARY KEY, email text)",
        AdoptionRequest("t"),
        "the key id of public.t is of the type public.pair, and a key has to be one simple value",
    ),
    "a rule on its UPDATEs": (
        TABLE + "CREATE RULE audit AS ON UPDATE TO t DO ALSO NOTIFY audit",
        AdoptionRequest("t"),
        "has the rule audit on its UPDATEs, so Postgres lets no worker claim: write it as a trigger, and DROP RULE audit",
    ),
    "a rule instead of its UPDATEs": (
        TABLE + 'CREATE RULE "No more" AS ON UPDATE TO t WHERE OLD.id = 1 DO INSTEAD NOTHING',
        AdoptionRequest("t"),
        'DROP RULE "No more" ON public.t',
    ),
    "no address": (
        "CREATE TABLE t (id int PRIMARY KEY, name text)",
        AdoptionRequest("t"),
        "public.t has no column email: name the one with",
    ),
    "no column email, but others that may be it": (
        'CREATE TABLE t (id int PRIMARY KEY, "E-Mail" text, work_email text, mail_count int)',
        AdoptionRequest("t"),
        "(it may be E-Mail or work_email)",
    ),
    "an address that is no column": (
        TABLE,
        AdoptionRequest("t", email="address"),
        "CONTACTS_EMAIL: public.t has no column address",
    ),
    "a name that no CRM can have": (TABLE, AdoptionRequest("t", crms=("Pipe Drive",)), "Pipe Drive is not a valid CRM name"),
    "a status that decides on the partition": (
        BY_STATUS,
        AdoptionRequest("t", key="id"),
        "decides on the partition, so that each delivery would move its row",
    ),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
async def test_it_is_refused_and_nothing_is_changed(owner, empty_url, photograph, case):
    setup, request, said = case
    await owner.execute(setup)
    before = photograph()
    for attempt in (adoption.plan, adoption.adopt):
        with pytest.raises(ConfigurationError) as refusal:
            await asyncio.to_thread(attempt, empty_url, for_all(request))
        assert said in str(refusal.value)
        assert photograph() == before


@contextmanager
def somebody(url):
    """A role that may do nothing, and the URL to be it."""
    name = f"somebody_{urlsplit(url).path[1:]}"
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'somebody'").format(sql.Identifier(name)))
        try:
            parts = urlsplit(url)
            yield name, urlunsplit(parts._replace(netloc=f"{name}:somebody@{parts.netloc.rpartition('@')[2]}"))
        finally:
            owner.execute(
                sql.SQL("REASSIGN OWNED BY {0} TO CURRENT_USER; DROP OWNED BY {0}; DROP ROLE {0}").format(sql.Identifier(name))
            )


async def test_a_role_without_the_rights_is_told_each_of_them_in_turn(owner, empty_url, photograph):
    database = urlsplit(empty_url).path[1:]
    await owner.execute("CREATE SCHEMA crm; CREATE TABLE crm.people (id int PRIMARY KEY, email text)")
    before = photograph()
    with somebody(empty_url) as (name, its_url):
        await owner.execute(f"GRANT USAGE ON SCHEMA crm TO {name}")
        said = await refused(its_url, "crm.people")
        assert f'GRANT CREATE ON DATABASE "{database}" TO "{name}"; it can be revoked afterwards' in said
        await owner.execute(f'GRANT CREATE ON DATABASE "{database}" TO "{name}"')
        assert f"crm.people belongs to postgres, and the role {name} cannot change it" in await refused(its_url, "crm.people")
        await owner.execute(f"ALTER TABLE crm.people OWNER TO {name}")
        assert f'GRANT CREATE ON SCHEMA "crm" TO "{name}"' in await refused(its_url, "crm.people")
        assert photograph() == before
        await owner.execute(f"GRANT CREATE ON SCHEMA crm TO {name}")
        await adopt_only(its_url, "crm.people")
        # What was lent can be taken back: anyone who adopts again needs it no more.
        await owner.execute(f'REVOKE CREATE ON DATABASE "{database}" FROM "{name}"')
        assert await adopt_only(its_url, "crm.people") == []


async def refused(url, table):
    with pytest.raises(ConfigurationError) as refusal:
        await adopt_only(url, table)
    return str(refusal.value)


async def test_a_read_only_database_is_refused(owner, empty_url):
    await owner.execute(TABLE)
    await owner.execute(f'ALTER DATABASE "{urlsplit(empty_url).path[1:]}" SET default_transaction_read_only = on')
    assert "the database is read-only: name the primary in DATABASE_URL" in await refused(empty_url, "t")


async def test_a_server_that_is_too_old_is_refused(empty_url, monkeypatch):
    monkeypatch.setattr(adoption, "server_number", lambda _: 140012)
    assert "PostgreSQL 15 or newer is needed" in await refused(empty_url, "t")


async def test_another_table_is_refused_while_one_is_adopted(owner, empty_url, photograph):
    await owner.execute(TABLE + "CREATE TABLE people (id int PRIMARY KEY, email text, uid int NOT NULL UNIQUE, other text)")
    await adopt_only(empty_url, "people")
    before = photograph()
    said = await refused(empty_url, "t")
    assert "t is not the adopted table, which is public.people" in said
    assert "crm-sync adopt --undo" in said
    for request in (AdoptionRequest("people", key="uid"), AdoptionRequest("people", email="other")):
        with pytest.raises(ConfigurationError, match=r"people is adopted with (id|email), not (uid|other)"):
            await asyncio.to_thread(adoption.adopt, empty_url, request)
    assert photograph() == before
    assert await adopt_only(empty_url) == [], "without a name it is the one that is adopted"


@slow
@pytest.mark.parametrize("command", ["run", "check", "migrate", "adopt"])
async def test_a_command_that_expects_another_table_ends_with_78_or_says_what_is_wrong(owner, empty_url, command):
    await owner.execute(TABLE + "CREATE TABLE people (id int PRIMARY KEY, email text)")
    await adopt(empty_url, "people")
    env = {
        "PYTHONPATH": str(Path.cwd() / "worker"),
        **environment(empty_url, owner=command in ("migrate", "adopt"), CONTACTS_TABLE="t"),
    }
    arguments = [sys.executable, "-m", "crm_sync", command]
    ended = await asyncio.to_thread(subprocess.run, arguments, env=env, cwd="/", capture_output=True, text=True, timeout=30)
    assert ended.returncode == (1 if command == "check" else 78)
    assert "t is not the adopted table, which is public.people" in " ".join((ended.stdout + ended.stderr).split())
