"""The checked mapping is the claim that runs: anything that the claim would refuse is reported earlier, with the field's name."""

import pytest

from crm_sync.core.values import PLAIN
from crm_sync.crm.values import BREVO, HUBSPOT, MAUTIC, N8N
from crm_sync.errors import ConfigurationError
from crm_sync.postgres.pool import Database
from crm_sync.table.mapping import prepare_for, read_file
from crm_sync.table.schema import read_schema
from tests.harness import ScriptedCrm, running, until
from tests.process import ended, environment, process
from tests.roles import as_worker
from tests.steps import open_worker

LOCAL = "'2026-01-02 03:04:05'::timestamp"


async def prepared(url, expression, *, crm="brevo", forms=PLAIN, **how):
    """Together with a valid field."""
    async with Database(as_worker(url), size=1, **how) as database:
        section = {"FIRSTNAME": "first_name", "FNAME": expression}
        return await prepare_for(database, crm, {crm: section}, {}, await read_schema(database), forms=forms)


async def refusal(url, expression, **how):
    with pytest.raises(ConfigurationError) as caught:
        await prepared(url, expression, **how)
    return str(caught.value)


REFUSED = {
    "string_agg(first_name, ',')": "aggregate functions",
    "count(*)": "aggregate functions",
    "max(first_name) FILTER (WHERE true)": "aggregate functions",
    "row_number() OVER ()": "window functions",
    "lag(first_name) OVER (ORDER BY id)": "window functions",
    "unnest(ARRAY[1])": "set-returning functions",
    "generate_series(1, 2)": "set-returning functions",
    "first_name, last_name": "it is a record",
    "ROW(first_name)": "it is a record",
    "first_name) , (last_name": "more than one expression",
    "contacts.*": "more than one expression",
    "pg_sleep(0)": "it is a void",
    "$1": "parameter",
    "first_name = $1": "parameter",
    "$2::integer + 1": "parameter",
    "(SELECT first_name, last_name FROM public.contacts LIMIT 1)": "only one column",
    "(SELECT name FROM nowhere)": 'relation "nowhere" does not exist',
    "nmae": 'column "nmae" does not exist',
    "lower(": "syntax error",
    "first_name; DROP TABLE contacts": "syntax error",
    "1 / 0": "division by zero",
    "'x'::integer": "invalid input syntax",
    "old.first_name": "old",
    "DEFAULT": "DEFAULT",
}


@pytest.mark.parametrize("half", [0, 1])
async def test_what_the_claim_would_refuse_is_refused_with_its_field(url, half):
    for expression, words in [*REFUSED.items()][half::2]:
        said = await refusal(url, expression)
        assert said.startswith("mapping of brevo.FNAME: "), said
        assert words in said


@pytest.mark.parametrize("expression", ["count(*)", "$1", "unnest(ARRAY[1])", "first_name, last_name"])
async def test_so_it_is_behind_a_pooler(url, expression):
    said = await refusal(url, expression, behind_pooler=True)
    assert said.startswith("mapping of brevo.FNAME: ")
    assert REFUSED[expression] in said


async def test_names_are_looked_up_by_the_path_of_the_mapping(app, url):
    await app.execute("CREATE FUNCTION shout(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT upper($1)'")
    said = await refusal(url, "shout(first_name)")
    assert "Qualify what is not Postgres's own with its schema, or name the schema in MAPPING_SEARCH_PATH" in said
    for expression, how in (("public.shout(first_name)", {}), ("shout(first_name)", {"mapping_path": ("public",)})):
        assert "FNAME" in (await prepared(url, expression, **how)).fields


@pytest.mark.parametrize("expression", ["count(*)", "$1", "email, first_name", "nmae"])
async def test_the_address_is_a_field_too(url, expression):
    async with Database(as_worker(url), size=1) as database:
        schema = await read_schema(database)
        with pytest.raises(ConfigurationError, match=r"mapping of brevo\.email: "):
            await prepare_for(database, "brevo", {"brevo": {"email": expression}}, {}, schema)


async def test_of_several_wrong_ones_the_first_is_named(url):
    async with Database(as_worker(url), size=1) as database:
        section = {"GOOD": "first_name", "BAD": "count(*)", "WORSE": "$1"}
        with pytest.raises(ConfigurationError, match=r"mapping of brevo\.BAD: aggregate"):
            await prepare_for(database, "brevo", {"brevo": section}, {}, await read_schema(database))


RIGHTS = {
    "phone": "the role may not read phone of public.contacts",  # the tests' own mapping reads other columns
    "coalesce(first_name, phone, 'x')": "the role may not read phone of public.contacts",
    "row_to_json(contacts)::text": "permission denied for table contacts",
    "(SELECT code FROM public.countries)": "permission denied for table countries",
    "public.secret(first_name)": "permission denied for function secret",
}


async def test_a_right_that_is_missing_is_told_with_its_field_and_what_to_do(app, url):
    await app.execute(
        "CREATE TABLE countries (code text); "
        "CREATE FUNCTION secret(text) RETURNS text LANGUAGE sql AS 'SELECT $1'; "
        "REVOKE EXECUTE ON FUNCTION secret FROM PUBLIC; "
        "ALTER TABLE contacts RENAME COLUMN phone TO former_phone; ALTER TABLE contacts ADD COLUMN phone text"
    )
    for expression, words in RIGHTS.items():
        said = await refusal(url, expression)
        assert said.startswith("mapping of brevo.FNAME: "), said
        assert words in said
        assert "crm-sync grants" in said


async def test_a_right_that_no_field_lacks_is_told_without_one(app, url):
    await app.execute("DO $$ BEGIN EXECUTE format('REVOKE UPDATE ON contacts FROM %I', $1); END $$".replace("$1", _worker(url)))
    said = await refusal(url, "first_name")
    assert said.startswith("mapping of brevo: its contacts cannot be claimed: permission denied for table contacts")
    assert "FNAME" not in said


def _worker(url):
    return f"'{as_worker(url).split('//')[1].partition(':')[0]}'"


async def test_nothing_is_claimed_and_no_expression_is_run(app, url):
    await app.execute("CREATE SEQUENCE numbers; GRANT ALL ON SEQUENCE numbers TO PUBLIC")
    await app.execute("INSERT INTO contacts (email, brevo_sync_status) VALUES ('ada@example.com', 'Queued')")
    async with open_worker(url, 1):
        await prepared(url, "nextval('public.numbers')")
    assert await app.fetchval("SELECT brevo_claimed_by FROM contacts") is None
    assert await app.fetchval("SELECT is_called FROM numbers") is False


async def test_a_local_time_is_no_moment_to_hubspot_and_brevo(url):
    for crm, forms in (("hubspot", HUBSPOT), ("brevo", BREVO)):
        for expression in (LOCAL, f"ARRAY[{LOCAL}]"):
            said = await refusal(url, expression, crm=crm, forms=forms)
            assert said.startswith(f"mapping of {crm}.FNAME: timestamp without time zone")
            assert "AT TIME ZONE" in said
        assert (await prepared(url, f"{LOCAL} AT TIME ZONE 'Europe/Berlin'", crm=crm, forms=forms)).notes == []


async def test_what_may_not_be_meant_is_noted(url):
    assert "AT TIME ZONE" in (await prepared(url, LOCAL, crm="mautic", forms=MAUTIC)).notes[0]
    assert (await prepared(url, LOCAL, crm="n8n", forms=N8N)).notes == []
    for expression in ("'1 day'::interval", "int4range(1, 2)", "'\\x00'::bytea", "inet '::1'", "ARRAY['1 day'::interval]"):
        [note] = (await prepared(url, expression)).notes
        assert note.startswith("FNAME is sent as Postgres writes ")
    for expression in (
        "first_name",
        "id",
        "'x'::char(3)",
        "1.5",
        "'1'::money",
        "ARRAY['1'::money]",
        "now()",
        "'{}'::jsonb",
        "ARRAY[1]",
        "'12:00'::time",
        "id::text",
    ):
        assert (await prepared(url, expression)).notes == []


def test_a_file_of_windows_is_read_and_one_that_is_none_is_named(tmp_path):
    file = tmp_path / "mapping.toml"
    file.write_text('\ufeff[brevo]\nFNAME = "first_name"\n')
    assert read_file(file) == {"brevo": {"FNAME": "first_name"}}
    file.write_text('[brevo]\nFNAME = "first_name"\n', encoding="utf-16")
    with pytest.raises(ConfigurationError, match=rf"^MAPPING_FILE: {file} is not UTF-8: save it as UTF-8$"):
        read_file(file)
    file.write_text("[brevo\n")
    with pytest.raises(ConfigurationError, match=rf"^MAPPING_FILE: {file} is not valid TOML: .*line 1"):
        read_file(file)


async def test_it_stops_its_lane_with_its_name(app, url, tmp_path):
    file = tmp_path / "mapping.toml"
    file.write_text("[brevo]\nFNAME = \"string_agg(first_name, ',')\"\n")
    async with running(url, ScriptedCrm(), mapping_file=file):
        await until(app, "fault LIKE 'mapping of brevo.FNAME: aggregate%' FROM crm_sync.lanes WHERE crm = 'brevo'")


async def test_check_tells_both_what_is_refused_and_what_may_not_be_meant(app, url, brevo, tmp_path):
    file = tmp_path / "mapping.toml"
    brevo.account.attributes["FNAME"] = "text"
    env = environment(url, brevo, MAPPING_FILE=str(file))
    for expression, code, words in (
        ("'1 day'::interval", 0, "FNAME is sent as Postgres writes interval: cast it to send another form"),
        ("row_number() OVER ()", 1, "mapping of brevo.FNAME: window functions are not allowed in RETURNING"),
        (LOCAL, 1, "mapping of brevo.FNAME: timestamp without time zone does not name a moment: say which one is meant"),
    ):
        file.write_text(f'[brevo]\nFNAME = "{expression}"\n')
        async with process(env, "check") as check:
            ended_with, out, _ = await ended(check)
        assert (ended_with, words in " ".join(out.split())) == (code, True), out
