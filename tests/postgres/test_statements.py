"""Every statement file, against the migrated schema."""

import ast
import re
from pathlib import Path

import asyncpg
import pytest

import crm_sync
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import files, folder, query, read, render, set_to
from crm_sync.table.schema import read_schema
from tests.roles import as_worker

NAMES = sorted(files())
PACKAGE = Path(crm_sync.__file__).parent

# Variables filled in by a person or the database, not by a CRM.
PUT_IN = {
    "mapped": "email",
    "statement": "SELECT 1",
    "part": "public.contacts",
    "end": "(1,0)",
    "index": "contacts_email_key",
    "lock": "SHARE",
    "of_crm": "NULL",
    "kind": "'column'",
    "names": "'{brevo_due_at}'",
    "column_type": "text",
    "column": "brevo_sync_status",
    "check": "brevo_sync_status <> ''",
    "note_table": "yoyo_lock",
    "history": "on",
    "clears": "on",
    "emptied": "1",
    "history_of_all": "TRUE",
    "history_lines": "TRUE",
    "operation": "upsert",
    "begins": "on",
    "beyond": "$1::uuid IS NULL",
    "failed": "$2::text[] IS NULL",
    "by_code": "$2::text[] IS NULL",
}


@pytest.mark.parametrize("crm", ["hubspot", "brevo", "mautic", "n8n"])
async def test_postgres_accepts_every_one_for_a_worker(url, crm):
    refused = {}
    async with Database(url, size=1) as owner:
        await owner.fetch(query("set_clearing"), crm, True)
    async with Database(as_worker(url), size=1) as database:
        table = (await read_schema(database)).lanes[crm]
        async with database.connection() as connection:
            for name in NAMES:
                try:
                    await connection.prepare(render(name, {**table.variables, **PUT_IN}))
                except asyncpg.PostgresError as error:
                    refused[name] = str(error)
    assert refused == {}


@pytest.mark.parametrize("name", NAMES)
def test_it_is_named_verb_noun_and_opens_with_why(name):
    assert re.fullmatch(r"[a-z]+(_[a-z]+)+", name)
    assert read(name).startswith("-- ")


@pytest.mark.parametrize("name", NAMES)
def test_its_parameters_are_described_and_stand_outside_of_quotes(name):
    text = read(name)
    code = _code(name)
    used = {*re.findall(r"\$\d", code), *re.findall(r"^-- :\w+  .*; (\$\d) is in it$", text, re.MULTILINE)}
    assert used == set(re.findall(r"^-- (\$\d)", text, re.MULTILINE))
    assert not [quoted for quoted in re.findall(r"'[^'\n]*'", code) if re.search(r"\$\d", quoted)]


def _code(name):
    return "\n".join(line for line in read(name).splitlines() if not line.lstrip().startswith("--"))


def test_its_name_is_unique_over_the_rooms():
    assert len(NAMES) == len(list((folder() / "queries").glob("**/*.sql")))


# SQL at the start of a string: statements that are run belong in files. Step kinds are recognised by how their statement begins.
WORDS = "SELECT|INSERT INTO|UPDATE|DELETE FROM|WITH|LOCK TABLE|CREATE|DROP|ALTER|GRANT|REVOKE|SHOW|TRUNCATE|CALL|DO"
SQL = re.compile(rf"\s*({WORDS})\s(?!INDEX CONCURRENTLY( ON )?$)")
PRINTED = {"reports/grants.py", "console/commands.py"}  # printed for a person, who runs it


def test_no_statement_stands_in_python():
    modules = [path for path in PACKAGE.rglob("*.py") if "sandbox" not in path.parts]
    found = {str(path.relative_to(PACKAGE)): _statements(path.read_text()) for path in modules}
    assert {name: texts for name, texts in found.items() if texts and name not in PRINTED} == {}
    assert all(found[name] for name in PRINTED)


def _statements(source):
    nodes = [*ast.walk(ast.parse(source))]
    inner = {part for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values[1:]}
    texts = [node.value for node in nodes if isinstance(node, ast.Constant) and node not in inner]
    return [str(text) for text in texts if isinstance(text, str | bytes) and SQL.match(_text(text))]


def _text(value):
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def test_a_statement_in_python_would_be_found():
    source = """
def f(table):
    a = "SELECT 1"
    b = f"SELECT {table}"
    c = b"DROP SCHEMA crm_sync"
    d = f"run this: {table} DROP TABLE x"
"""
    assert len(_statements(source)) == 3


@pytest.mark.parametrize("name", NAMES)
def test_it_is_one_statement_and_is_used(name):
    assert ";" not in _code(name)
    assert any(f'"{name}"' in path.read_text() or f"'{name}'" in path.read_text() for path in PACKAGE.rglob("*.py"))


def test_settings_are_set_together():
    assert set_to({"lock_timeout": 100, "jit": "off"}, local=True) == "SET LOCAL lock_timeout = '100'; SET LOCAL jit = 'off'"
    assert set_to({"jit": "off"}, local=False) == "SET jit = 'off'"


def test_psql_variables_are_put_in_as_psql_does():
    rendered = render("count_pages", {"contacts_name": "it's"})
    assert "'it''s'::regclass" in rendered
    assert "--" not in rendered
