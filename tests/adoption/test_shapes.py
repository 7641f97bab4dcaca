"""A table of any shape is adopted, delivered from by a real worker, and left as it was."""

from typing import NamedTuple

import pytest

from tests.adoption.steps import adopt, complete, delivering, undo, until
from tests.tiers import one_quick

LONG = "people_" + "x" * 56


class Shape(NamedTuple):
    """insert: of one person, and the address that is to arrive. key and email: where they are not the table's own."""

    table: str
    setup: str
    insert: str
    key: str | None = None
    email: str | None = None


SHAPES = {
    "in a schema, with names that need quoting": Shape(
        '"The App"."Contact People"',
        'CREATE SCHEMA "The App"; CREATE TABLE "The App"."Contact People" ('
        '"Person Id" bigint PRIMARY KEY, "E-Mail" text, "First Name" text, "say ""hi""" int)',
        """("Person Id", "E-Mail") VALUES (1, 'ada@example.com')""",
        email="E-Mail",
    ),
    "in a schema, with apostrophes": Shape(
        """"S's"."it's\"""",
        """CREATE SCHEMA "S's"; CREATE TABLE "S's"."it's" ("who's" bigint PRIMARY KEY, "e'mail" text, "first'name" text)""",
        """("who's", "e'mail") VALUES (1, 'ada@example.com')""",
        email="e'mail",
    ),
    "a name of 63 characters": Shape(
        LONG, f"CREATE TABLE {LONG} (id uuid PRIMARY KEY, email text)", "VALUES (gen_random_uuid(), 'ada@example.com')"
    ),
    "a name of 63 bytes in letters of two": Shape(
        "ж" * 31 + "x",
        f"CREATE TABLE {'ж' * 31}x (id uuid PRIMARY KEY, email text)",
        "VALUES (gen_random_uuid(), 'ada@example.com')",
    ),
    "a smallint for a key": Shape("t", "CREATE TABLE t (id smallint PRIMARY KEY, email text)", "VALUES (7, 'ada@example.com')"),
    "a bigint that counts itself": Shape(
        "t",
        "CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, email text)",
        "(email) VALUES ('ada@example.com')",
    ),
    "a varchar of a length for a key": Shape(
        "t", "CREATE TABLE t (id varchar(26) PRIMARY KEY, email text)", "VALUES ('01ARZ3NDEKTSV4RRFFQ69G5FAV', 'ada@example.com')"
    ),
    "a text for a key": Shape(
        "t", "CREATE TABLE t (id text PRIMARY KEY, email text)", """VALUES ('O''Neil "x" \\', 'ada@example.com')"""
    ),
    "a char for a key": Shape("t", "CREATE TABLE t (id char(8) PRIMARY KEY, email text)", "VALUES ('abc', 'ada@example.com')"),
    "a numeric for a key": Shape("t", "CREATE TABLE t (id numeric PRIMARY KEY, email text)", "VALUES (1.50, 'ada@example.com')"),
    "a timestamp for a key": Shape(
        "t", "CREATE TABLE t (id timestamptz PRIMARY KEY, email text)", "VALUES ('2026-01-01', 'ada@example.com')"
    ),
    "a domain for a key": Shape(
        "t",
        "CREATE DOMAIN person_id AS bigint CHECK (VALUE > 0); CREATE TABLE t (id person_id PRIMARY KEY, email text)",
        "VALUES (1, 'ada@example.com')",
    ),
    "a domain over a domain for a key, which refuses NULL": Shape(
        "t",
        "CREATE DOMAIN code AS text; CREATE DOMAIN person_code AS code NOT NULL;"
        " CREATE TABLE t (id person_code PRIMARY KEY, email text)",
        "VALUES ('ada', 'ada@example.com')",
    ),
    "an enum for a key": Shape(
        "t",
        "CREATE TYPE who AS ENUM ('ada', 'bob'); CREATE TABLE t (id who PRIMARY KEY, email text)",
        "VALUES ('ada', 'ada@example.com')",
    ),
    "a unique column beside the primary key": Shape(
        "t",
        "CREATE TABLE t (tenant int, number int, reference text NOT NULL UNIQUE, email text, PRIMARY KEY (tenant, number))",
        "VALUES (1, 1, 'r-1', 'ada@example.com')",
        key="reference",
    ),
    "an address in a varchar(64), by another name": Shape(
        "t",
        "CREATE TABLE t (id int PRIMARY KEY, mail_address varchar(64))",
        "VALUES (1, 'ada@example.com')",
        email="mail_address",
    ),
    "an address that is a domain, and required": Shape(
        "t",
        "CREATE DOMAIN address AS text CHECK (VALUE LIKE '%@%'); CREATE TABLE t (id int PRIMARY KEY, email address NOT NULL)",
        "VALUES (1, 'ada@example.com')",
    ),
    "generated columns": Shape(
        "t",
        "CREATE TABLE t (id int PRIMARY KEY, local text, email text GENERATED ALWAYS AS (local || '@example.com') STORED)",
        "(id, local) VALUES (1, 'ada')",
    ),
    "a column of each kind beside": Shape(
        "t",
        "CREATE TABLE t (id int PRIMARY KEY, email text, tags text[], address jsonb, born date, place point, raw bytea)",
        "(id, email, tags) VALUES (1, 'ada@example.com', '{a,b}')",
    ),
    "unlogged": Shape("t", "CREATE UNLOGGED TABLE t (id int PRIMARY KEY, email text)", "VALUES (1, 'ada@example.com')"),
    "a fillfactor of its own": Shape(
        "t", "CREATE TABLE t (id int PRIMARY KEY, email text) WITH (fillfactor = 70)", "VALUES (1, 'ada@example.com')"
    ),
    "columns that were dropped": Shape(
        "t",
        "CREATE TABLE t (a int, id int PRIMARY KEY, b text, email text, c int); ALTER TABLE t DROP COLUMN a, DROP COLUMN b",
        "VALUES (1, 'ada@example.com', 3)",
    ),
}


@pytest.mark.parametrize("shape", one_quick(SHAPES.values()), ids=SHAPES)
async def test_it_is_adopted_delivered_from_and_left_as_it_was(owner, empty_url, photograph, shape):
    await owner.execute(shape.setup)
    before = photograph()
    await adopt(empty_url, shape.table, key=shape.key, email=shape.email)
    async with delivering(empty_url, contacts_table=shape.table) as crm:
        await owner.execute(f"INSERT INTO {shape.table} {shape.insert}")
        await owner.execute(f"UPDATE {shape.table} SET brevo_sync_status = 'Queued'")
        await until(owner, shape.table, complete())
        assert [one["email"] for one in crm.store.values()] == ["ada@example.com"]
        await owner.execute(f"UPDATE {shape.table} SET brevo_sync_status = 'Queued'")
        await crm.reached(2)
        await until(owner, shape.table, complete())
    await owner.execute("SELECT crm_sync.set_on_delete('n8n', 'delete')")
    await owner.execute("ANALYZE crm_sync.added")  # its rows are filtered in another order then
    await undo(empty_url)
    assert photograph() == before


async def test_a_citext_address_is_delivered_as_it_is_written(owner, empty_url):
    if not await owner.fetchval("SELECT count(*) FROM pg_available_extensions WHERE name = 'citext'"):
        pytest.skip("this server has no citext")
    await owner.execute("CREATE SCHEMA ext; CREATE EXTENSION citext SCHEMA ext")
    await owner.execute("CREATE TABLE t (id int PRIMARY KEY, email ext.citext UNIQUE)")
    await adopt(empty_url, "t")
    async with delivering(empty_url) as crm:
        await owner.execute("INSERT INTO t (id, email, brevo_sync_status) VALUES (1, 'Ada@Example.com', 'Queued')")
        await until(owner, "t", complete())
    assert crm.store[1]["email"] == "Ada@Example.com"


VIRTUAL = """
    CREATE TABLE t ({columns}, email text GENERATED ALWAYS AS ({expression}) VIRTUAL) {more};
"""


@pytest.mark.parametrize(
    ("columns", "expression", "more"),
    [
        ("id int PRIMARY KEY, local text", "local || '@example.com'", ""),
        (
            "id int PRIMARY KEY, local text, address text, contact text",
            "lower(local) || '@' || coalesce(address, 'example.com')",
            "",
        ),
        ("id int PRIMARY KEY, local text, \"Domain\" text DEFAULT 'example.com'", "local || '@' || \"Domain\"", ""),
        ("id int PRIMARY KEY, local text", "local || '@example.com'", "PARTITION BY RANGE (id)"),
    ],
)
async def test_a_deleted_contact_leaves_the_address_that_a_virtual_column_had(owner, empty_url, columns, expression, more):
    if owner.get_server_version().major < 18:
        pytest.skip("virtual generated columns came with PostgreSQL 18")
    await owner.execute(VIRTUAL.format(columns=columns, expression=expression, more=more))
    if more:
        # With its columns in another order.
        await owner.execute(
            f"CREATE TABLE p (gone int, email text GENERATED ALWAYS AS ({expression}) VIRTUAL, local text, id int NOT NULL); "
            "ALTER TABLE p DROP gone; ALTER TABLE t ATTACH PARTITION p DEFAULT"
        )
    await adopt(empty_url, "t")
    await owner.execute("SELECT crm_sync.set_on_delete('brevo', 'delete')")
    async with delivering(empty_url) as crm:
        await owner.execute("INSERT INTO t (id, local, brevo_sync_status) VALUES (1, 'ada', 'Queued')")
        await until(owner, "t", complete())
    assert crm.store[1]["email"] == "ada@example.com"
    await owner.execute("DELETE FROM t")
    assert await owner.fetchval("SELECT email FROM crm_sync.tombstones") == "ada@example.com"


async def test_its_address_is_computed_by_the_expression_of_the_day(owner, empty_url):
    if owner.get_server_version().major < 18:
        pytest.skip("virtual generated columns came with PostgreSQL 18")
    await owner.execute(VIRTUAL.format(columns="id int PRIMARY KEY, local text", expression="local || '@example.com'", more=""))
    await adopt(empty_url, "t")
    await owner.execute("SELECT crm_sync.set_on_delete('brevo', 'delete')")
    await owner.execute("INSERT INTO t (id, local, brevo_contact_id) VALUES (1, 'ada', 7), (2, NULL, 8)")
    await owner.execute("ALTER TABLE t ALTER email SET EXPRESSION AS (local || '@example.org')")
    await owner.execute("DELETE FROM t")
    rows = await owner.fetch("SELECT contact_id, email FROM crm_sync.tombstones ORDER BY contact_id")
    assert [tuple(row) for row in rows] == [("1", "ada@example.org"), ("2", None)]


async def test_the_indexes_of_a_table_with_a_long_name_are_distinct_and_two_such_tables_share_none(owner, empty_url):
    other = LONG[:-1] + "y"
    await owner.execute(f"CREATE TABLE {LONG} (id int PRIMARY KEY, email text); CREATE TABLE {other} (LIKE {LONG} INCLUDING ALL)")
    await adopt(empty_url, LONG)
    names = await owner.fetch("SELECT indexname FROM pg_indexes WHERE tablename = $1 AND indexname LIKE 'idx\\_%'", LONG)
    assert len(names) == 9
    await owner.execute("UPDATE crm_sync.adopted SET contacts = $1::regclass::oid", other)
    again = await owner.fetch(
        "SELECT unnest(names) AS name FROM crm_sync.missing_steps('{brevo,n8n}', TRUE) WHERE kind = 'index'"
    )
    assert len(again) == 5
    assert not {row["name"] for row in again} & {row["indexname"] for row in names}
