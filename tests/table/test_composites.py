"""Types that contain other types, which the driver cannot always read: each is sent as text, or fails with its field's name."""

import pytest
from structlog.testing import capture_logs

from crm_sync import events
from crm_sync.crm.values import BREVO, HUBSPOT, MAUTIC, N8N
from crm_sync.errors import ConfigurationError
from crm_sync.postgres.pool import Database
from crm_sync.table.mapping import prepare_for
from crm_sync.table.one_contact import read, show
from crm_sync.table.schema import read_schema
from tests.harness import ScriptedCrm, running, until
from tests.process import ended, environment, process
from tests.roles import as_worker, let_in
from tests.steps import insert

FORMS = {"hubspot": HUBSPOT, "brevo": BREVO, "mautic": MAUTIC, "n8n": N8N}
TYPES = (
    "CREATE TYPE price AS (currency text, amount money); CREATE TYPE range_of AS (size numrange, price price); "
    "CREATE DOMAIN dear AS price"
)
AS_TEXT = {
    "ROW('USD', 7)::public.price": "(USD,$7.00)",
    "ROW('[1,2)', ROW('USD', 7)::public.price)::public.range_of": '("[1,2)","(USD,$7.00)")',
    "ROW('USD', 7)::public.price::public.dear": "(USD,$7.00)",
    "(SELECT ROW('USD', 7)::public.price)": "(USD,$7.00)",
}


async def prepared(database, crm, sql):
    section = {"FIRSTNAME": "first_name", "PRICE": sql}
    return await prepare_for(database, crm, {crm: section}, {}, await read_schema(database), forms=FORMS[crm])


@pytest.mark.parametrize("behind_pooler", [False, True])
async def test_a_composite_that_the_driver_cannot_read_is_sent_as_postgres_writes_it(app, url, behind_pooler):
    await app.execute(TYPES)
    key = await insert(app)
    async with Database(as_worker(url), size=1, behind_pooler=behind_pooler) as database:
        for crm in FORMS:
            lane = (await read_schema(database)).lanes[crm]
            for sql, text in AS_TEXT.items():
                mapping = await prepared(database, crm, sql)
                [contact] = (await read(database, lane, mapping, await show(database, lane, [key]))).contacts
                assert contact.fields["PRICE"] == text
                [note] = mapping.notes
                assert note.startswith("PRICE is sent as Postgres writes ")


async def test_so_is_a_list_of_them(app, url):
    await app.execute(TYPES)
    key = await insert(app)
    async with Database(as_worker(url), size=1) as database:
        lane = (await read_schema(database)).lanes["n8n"]
        mapping = await prepared(database, "n8n", "ARRAY[ROW('USD', 7)::public.price, NULL]")
        [contact] = (await read(database, lane, mapping, await show(database, lane, [key]))).contacts
    assert contact.fields["PRICE"] == ["(USD,$7.00)"]


WITH_MONEY = "ALTER TABLE contacts ADD COLUMN paid money"  # the driver cannot read a whole row of it


@pytest.mark.parametrize("change", ["SELECT", WITH_MONEY])
async def test_a_whole_row_is_refused_by_the_name_of_its_field(app, url, change):
    await app.execute(f"CREATE TABLE countries (code text); {change}")
    rows = ["contacts", "(contacts)", "(SELECT c FROM public.countries AS c)"]
    if change != WITH_MONEY:
        rows.append("ARRAY[contacts]")
    async with Database(as_worker(url), size=1) as database:
        for sql in rows:
            with pytest.raises(ConfigurationError) as caught:
                await prepared(database, "brevo", sql)
            assert str(caught.value).startswith("mapping of brevo.PRICE: it is the whole row of a table ("), sql
            assert "name the column that is meant" in str(caught.value)


async def test_what_cannot_be_prepared_beside_it_is_still_told(app, url):
    await app.execute(TYPES)
    async with Database(as_worker(url), size=1) as database:
        for sql, words in {
            "ROW('USD', count(*)::integer::money)::public.price": "aggregate functions",
            "ROW($1, 7)::public.price": "parameter",
            "ROW('USD', 7)::public.price) , (first_name": "only one column",
            "ROW('USD', nowhere)::public.price": 'column "nowhere" does not exist',
        }.items():
            with pytest.raises(ConfigurationError) as caught:
                await prepared(database, "brevo", sql)
            assert str(caught.value).startswith("mapping of brevo.PRICE: "), sql
            assert words in str(caught.value)


# With a running worker.

GOOD = '[brevo]\nFIRSTNAME = "first_name"\n'


async def test_a_row_in_the_mapping_is_its_lanes_fault_and_no_other_statement_fails(app, url, brevo, tmp_path):
    await app.execute(WITH_MONEY)
    file = tmp_path / "mapping.toml"
    file.write_text('[brevo]\nPRICE = "contacts"\n')
    with capture_logs() as log:
        async with running(url, ScriptedCrm(), mapping_file=file):
            await until(app, "fault LIKE 'mapping of brevo.PRICE: it is the whole row%' FROM crm_sync.lanes WHERE crm = 'brevo'")
    assert [entry["event"] for entry in log].count(events.DATABASE_TROUBLE) == 0
    let_in(url)
    async with process(environment(url, brevo, MAPPING_FILE=str(file)), "check") as check:
        code, out, _ = await ended(check)
    assert (code, "mapping of brevo.PRICE: it is the whole row" in " ".join(out.split())) == (1, True), out
