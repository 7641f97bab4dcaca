"""Every statement file, against the migrated schema."""

import re

import asyncpg
import pytest

from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import files, folder, read, render
from crm_sync.table.schema import read_schema
from tests.roles import as_worker

NAMES = sorted(files())


@pytest.mark.parametrize("crm", ["hubspot", "brevo", "mautic", "n8n"])
async def test_postgres_accepts_every_one_for_a_worker(url, crm):
    refused = {}
    async with Database(as_worker(url), size=1) as database:
        table = (await read_schema(database)).lanes[crm]
        async with database.connection() as connection:
            for name in NAMES:
                try:
                    await connection.prepare(render(name, {**table.variables, "mapped": "email"}))
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
    code = "\n".join(line for line in text.splitlines() if not line.startswith("--"))
    used = set(re.findall(r"\$\d", code))
    assert used == set(re.findall(r"^-- (\$\d)", text, re.MULTILINE))
    assert not re.search(r"'[^'\n]*\$\d[^'\n]*'", code)


def test_its_name_is_unique_over_the_rooms():
    assert len(NAMES) == len(list((folder() / "queries").glob("**/*.sql")))


def test_psql_variables_are_put_in_as_psql_does():
    rendered = render("count_pages", {"contacts": "it's"})
    assert "'it''s'::regclass" in rendered
    assert "--" not in rendered
