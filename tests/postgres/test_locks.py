"""The numbers of the advisory locks are in one place, and the migrations, which cannot be edited, have the same ones."""

import re
from pathlib import Path

import asyncpg
import pytest

from crm_sync.postgres import locks
from crm_sync.postgres.statements import files, folder, query

ROOT = Path(__file__).parents[2]
NUMBER = re.compile(r"(?<!\d)16684434\d\d|(?<!\d)16684435\d\d")
HOME = ROOT / "worker" / "crm_sync" / "postgres" / "locks.py"
MIGRATED = (ROOT / "sql" / "migrations", ROOT / "sql" / "schema.sql")  # the latter is generated from the former
TEXTS = {".py", ".sql", ".md", ".toml", ".mjs", ".sh", ".service"}


def test_no_number_stands_anywhere_else():
    places = [path for top in ("worker", "tests", "sql", ".") for path in _texts(ROOT / top, deep=top != ".")]
    assert HOME in places
    assert [str(path) for path in places if path != HOME and NUMBER.search(path.read_text())] == []


def _texts(top, *, deep):
    found = top.rglob("*") if deep else top.glob("*")
    return [
        path
        for path in found
        if path.suffix in TEXTS and path.is_file() and not any(path.is_relative_to(place) for place in MIGRATED)
    ]


def test_no_two_are_the_same():
    assert len(set(locks.VARIABLES.values())) == len(locks.VARIABLES)
    assert all(NUMBER.fullmatch(number) for number in locks.VARIABLES.values())


def test_the_triggers_of_the_migrations_ask_for_the_bell():
    asked = re.findall(r"advisory_\w+\((\d+)", "\n".join(_migrations()))
    assert len(asked) >= 2
    assert set(asked) == {str(locks.BELL)}


async def test_the_schema_says_of_each_number_what_it_locks(app: asyncpg.Connection):
    said = await app.fetchval("SELECT obj_description('crm_sync'::regnamespace, 'pg_namespace')")
    for number, what in (
        (locks.ADOPTION, " who migrates or adopts"),
        (locks.BELL, " the bell of a lane"),
        (locks.WORKER, " a living worker"),
        (locks.ADDRESS_SEED, ": an address in a request"),
        (locks.COUNT, " who counts all contacts"),
    ):
        assert f"{number}{what}" in said
    assert set(NUMBER.findall(said)) == set(locks.VARIABLES.values())


def _migrations():
    return [path.read_text() for path in sorted((folder() / "migrations").glob("*.sql"))]


@pytest.mark.parametrize("name", sorted(files()))
def test_every_lock_of_a_statement_is_one_of_them(name):
    """A key written as a number would belong to no lock."""
    text = files()[name].read_text()
    assert re.findall(r"(?:classid = |advisory_\w+\()\d+", text) == []


def test_statements_have_them_put_in():
    assert str(locks.BELL) in query("arm_bell")
    assert str(locks.WORKER) in query("show_alive")
