"""Values arrive as intended, whatever database, role and pooler set: how each Postgres type reaches the client of each CRM."""

from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from crm_sync import events
from crm_sync.core.values import PLAIN
from crm_sync.crm.values import BREVO, HUBSPOT, MAUTIC, N8N
from crm_sync.daemon.daemon import Daemon
from crm_sync.postgres.pool import Database
from crm_sync.table.mapping import prepare_for
from crm_sync.table.one_contact import read, show
from crm_sync.table.schema import read_schema
from tests.harness import ScriptedCrm, account, configured, driven, running, until
from tests.roles import as_worker
from tests.steps import insert

FORMS = {"hubspot": HUBSPOT, "brevo": BREVO, "mautic": MAUTIC, "n8n": N8N}
# Everything that changes how a value is written, set where a worker has no influence.
UNUSUAL = (
    "DateStyle = 'German, DMY'",
    "TimeZone = 'America/New_York'",
    "IntervalStyle = 'sql_standard'",
    "extra_float_digits = -5",
    "bytea_output = 'escape'",
    "lc_monetary = 'C.UTF-8'",
)
TYPES = (
    "CREATE TYPE mood AS ENUM ('sad', 'happy'); CREATE DOMAIN price AS numeric(10, 2); CREATE DOMAIN dear AS price; "
    "CREATE DOMAIN cash AS money; CREATE TYPE pair AS (number integer, at timestamptz)"
)
MOMENT = "'2026-01-02 03:04:05.678901+00'::timestamptz"
NOT_SENT = object()
# SQL, and what HubSpot, Brevo, Mautic and n8n get. A single value: all get it.
SENT = {
    "'  Ada '::text": ("Ada", "Ada", "Ada", "  Ada "),
    "'DE'::char(6)": "DE",
    "'happy'::mood": "happy",
    "'Ada'::name": "Ada",
    "'2d1e0a1c-0000-4000-8000-000000000001'::uuid": "2d1e0a1c-0000-4000-8000-000000000001",
    "true": ("true", True, 1, True),
    "false": ("false", False, 0, False),
    "7::smallint": ("7", 7, 7, 7),
    "9007199254740993": "9007199254740993",
    "12345678901234567891::numeric(20, 0)": "12345678901234567891",
    "1.50": ("1.50", 1.5, 1.5, 1.5),
    "1.5::price": ("1.50", 1.5, 1.5, 1.5),
    "1.5::dear": ("1.50", 1.5, 1.5, 1.5),
    "4.7::real": ("4.7", 4.7, 4.7, 4.7),
    "1e-7::float8": ("1e-07", 1e-07, 1e-07, 1e-07),
    "0.1::float8 + 0.2::float8": ("0.30000000000000004", *[0.30000000000000004] * 3),
    "'2026-01-02'::date": "2026-01-02",
    MOMENT: ("2026-01-02T03:04:05.678Z", "2026-01-02T03:04:05.678Z", "2026-01-02 03:04:05", "2026-01-02T03:04:05.678Z"),
    "'03:04:05'::time": "03:04:05",
    "'03:04:05+02'::timetz": "03:04:05+02",
    "ARRAY[1, 2, NULL]": ("1;2", ["1", "2"], [1, 2], [1, 2]),
    "ARRAY['sad', 'happy']::mood[]": ("sad;happy", *[["sad", "happy"]] * 3),
    "ARRAY[1.5]::price[]": ("1.50", ["1.5"], [1.5], [1.5]),
    "ARRAY[4.7]::real[]": ("4.7", ["4.7"], [4.7], [4.7]),
    "ARRAY['DE']::char(6)[]": ("DE", *[["DE"]] * 3),
    f"ARRAY[{MOMENT}]": (
        *("2026-01-02T03:04:05.678Z", ["2026-01-02T03:04:05.678Z"]),
        *(["2026-01-02 03:04:05"], ["2026-01-02T03:04:05.678Z"]),
    ),
    "ARRAY['2026-01-02']::date[]": ("2026-01-02", *[["2026-01-02"]] * 3),
    "ARRAY[[1, 2], [3, 4]]": ("1;2;3;4", ["1", "2", "3", "4"], [1, 2, 3, 4], [[1, 2], [3, 4]]),
    "ARRAY['{\"a\": 1.50}', 'null']::jsonb[]": ('{"a": 1.50}', ['{"a": 1.50}'], [{"a": 1.5}], [{"a": 1.5}]),
    """'{"a": [1.50, 12345678901234567891]}'::jsonb""": (
        *('{"a": [1.50, 12345678901234567891]}', '{"a": [1.50, 12345678901234567891]}'),
        *({"a": [1.5, "12345678901234567891"]}, {"a": [1.5, "12345678901234567891"]}),
    ),
    "'\"Ada\"'::jsonb": "Ada",
    "to_jsonb(' Ada '::text)": ("Ada", "Ada", "Ada", " Ada "),
    "to_jsonb(7)": ("7", 7, 7, 7),
    "to_json(1.50)": ("1.50", 1.5, 1.5, 1.5),
    "to_jsonb(9007199254740993)": "9007199254740993",
    "'1e2'::json": ("100", 100, 100, 100),
    "' -0.0 '::json": ("0.0", 0, 0, 0),
    "to_jsonb(true)": ("true", True, 1, True),
    "to_json(false)": ("false", False, 0, False),
    "ARRAY[to_jsonb(true), to_jsonb(7), to_jsonb('x'::text)]": ("true;7;x", ["true", "7", "x"], [1, 7, "x"], [True, 7, "x"]),
    "chr(65279) || 'Ada'": "Ada",
    "1234.5::float8::numeric::money": ("1234.50", 1234.5, 1234.5, 1234.5),
    "'-92233720368547758.08'::money": "-92233720368547758.08",
    "'0.5'::money::cash": ("0.50", 0.5, 0.5, 0.5),
    "ARRAY['1234.5', NULL]::money[]": ("1234.50", ["1234.5"], [1234.5], [1234.5]),
    "NULL::money": NOT_SENT,
    "'1 day 02:00'::interval": "P1DT2H",
    f"tstzrange({MOMENT}, NULL)": '["2026-01-02 03:04:05.678901+00",)',
    r"'\xde00'::bytea": r"\xde00",
    "'192.0.2.1'::inet": "192.0.2.1",
    f"ROW(7, {MOMENT})::pair": '(7,"2026-01-02 03:04:05.678901+00")',
    "ARRAY['192.0.2.1']::inet[]": ("192.0.2.1", *[["192.0.2.1"]] * 3),
    "ARRAY['1 day']::interval[]": ("P1D", *[["P1D"]] * 3),
    f"ARRAY[ROW(7, {MOMENT})]::pair[]": ('(7,"2026-01-02 03:04:05.678901+00")', *[['(7,"2026-01-02 03:04:05.678901+00")']] * 3),
    **dict.fromkeys(
        (
            *(
                "NULL::text",
                "''",
                "'\t '",
                "NULL::integer",
                "NULL::numeric",
                "NULL::timestamptz",
                "NULL::interval",
                "NULL::int[]",
            ),
            *("'{}'::text[]", "ARRAY[NULL]::date[]", "ARRAY['', NULL]", "'{}'::interval[]", "'null'::jsonb", "'[]'::jsonb"),
        ),
        NOT_SENT,
    ),
}
UNSENDABLE = (
    *("'NaN'::real", "'Infinity'::float8", "'NaN'::numeric", "'-Infinity'::numeric", "ARRAY['NaN']::float8[]"),
    *("ARRAY['NaN']::numeric[]", "'NaN'::price", "'infinity'::date", "'-infinity'::timestamptz", "'0044-03-15 BC'::date"),
    *("'0044-03-15 BC'::timestamptz", "'10000-01-01'::date", "ARRAY['infinity']::timestamptz[]", "ARRAY['infinity']::date[]"),
    """'"\\ud83d"'::json""",
)


@pytest.fixture(params=[False, True], ids=["pinned", "behind a pooler"])
async def database(request, app, url):
    await app.execute(TYPES)
    for setting in UNUSUAL:
        name = url.rpartition("/")[2]
        await app.execute(f'ALTER DATABASE "{name}" SET {setting}')
    await insert(app)
    async with Database(as_worker(url), size=1, behind_pooler=request.param, mapping_path=("public",)) as opened:
        yield opened


async def read_all(database, crm, section):
    """What a client gets for the only contact, as `preview` and `sync` read it: the contacts, and those that cannot be sent."""
    schema = await read_schema(database)
    mapping = await prepare_for(database, crm, {crm: section}, {}, schema, forms=FORMS[crm])
    [contact] = await database.fetch("SELECT id FROM public.contacts")
    return await read(database, schema.lanes[crm], mapping, await show(database, schema.lanes[crm], [contact["id"]]))


@pytest.mark.parametrize("crm", FORMS)
async def test_each_type_is_what_that_crm_takes(database, crm):
    place = [*FORMS].index(crm)
    wanted = {sql: value[place] if isinstance(value, tuple) else value for sql, value in SENT.items()}
    [contact] = (await read_all(database, crm, {sql: sql for sql in SENT})).contacts
    assert {sql: contact.filled.get(sql, NOT_SENT) for sql in SENT} == wanted
    assert {sql: type(contact.filled.get(sql, NOT_SENT)) for sql in SENT} == {sql: type(value) for sql, value in wanted.items()}


@pytest.mark.parametrize("crm", FORMS)
async def test_what_no_crm_takes_is_told_with_its_field(database, crm):
    for sql in UNSENDABLE:
        claimed = await read_all(database, crm, {"GOOD": "first_name", "SHARE": sql})
        [(_, reason)] = claimed.unreadable
        assert (claimed.contacts, reason.startswith("SHARE: ")) == ([], True)


@pytest.mark.parametrize("crm", FORMS)
async def test_an_interval_without_end_is_told_with_its_field(app, database, crm):
    if app.get_server_version().major < 17:
        pytest.skip("PostgreSQL has had them since 17")
    for sql in ("'infinity'::interval", "'-infinity'::interval", "ARRAY['1 day', '-infinity']::interval[]"):
        [(_, reason)] = (await read_all(database, crm, {"SHARE": sql})).unreadable
        assert reason == "SHARE: an infinite interval is not accepted by any CRM"


async def test_a_time_without_a_zone_is_taken_as_it_is_by_two(database):
    for crm, sent in (("mautic", "2026-01-02 03:04:05"), ("n8n", "2026-01-02T03:04:05.678")):
        section = {"AT": "'2026-01-02 03:04:05.678'::timestamp", "NEVER": "NULL::timestamp"}
        [contact] = (await read_all(database, crm, section)).contacts
        assert contact.filled == {"AT": sent}


# In a lane.

MAPPING = '[brevo]\nSHARE = "first_name::float8"\nLASTNAME = "last_name"\n'


async def test_a_value_that_cannot_be_sent_is_its_contacts_and_spoils_no_batch(app, url, tmp_path):
    file = tmp_path / "mapping.toml"
    file.write_text(MAPPING)
    crm = ScriptedCrm(batch_limit=100)
    await app.execute(
        "INSERT INTO contacts (email, first_name, brevo_sync_status) SELECT n || '@example.com', "
        "CASE WHEN n % 10 = 0 THEN 'NaN' ELSE n::text END, 'Queued' FROM generate_series(1, 100) AS n"
    )
    async with running(url, crm, mapping_file=file):
        await until(app, "bool_and(brevo_sync_status IN ('Complete', 'Error')) FROM contacts")
        assert len(crm.store) == 90
        failed = "MAPPING_FAILED: SHARE: no CRM takes NaN or infinity"
        assert await app.fetchval("SELECT count(*) FROM contacts WHERE brevo_processing_error = $1", failed) == 10
        await app.execute("UPDATE contacts SET first_name = '0', brevo_sync_status = 'Queued' WHERE first_name = 'NaN'")
        await until(app, "bool_and(brevo_sync_status = 'Complete') FROM contacts")


async def test_what_is_beside_one_that_the_mapping_fails_for_is_written_the_same(app, url, tmp_path):
    """The careful reader gets the same from a row as the claim."""
    file = tmp_path / "mapping.toml"
    file.write_text('[brevo]\nSHARE = "1.50 / first_name::numeric"\nNOW = "now()"\n')
    crm = ScriptedCrm(batch_limit=100)
    await app.execute(
        "INSERT INTO contacts (email, first_name, brevo_sync_status) "
        "SELECT n || '@example.com', n % 3, 'Queued' FROM generate_series(1, 30) AS n"
    )
    async with running(url, crm, mapping_file=file):
        await until(app, "bool_and(brevo_sync_status IN ('Complete', 'Error')) FROM contacts")
    assert {fields["SHARE"] for fields in crm.store.values()} == {1.5, 0.75}
    assert {fields["NOW"][-1] for fields in crm.store.values()} == {"Z"}


@pytest.mark.parametrize(("sql", "sent"), [("first_name::numeric", {"1" + "0" * 400}), ("first_name::float8", set())])
async def test_a_number_that_no_double_holds_keeps_its_digits_or_is_its_contacts_error(app, url, tmp_path, sql, sent):
    file = tmp_path / "mapping.toml"
    file.write_text(f'[brevo]\nSHARE = "{sql}"\n')
    crm = ScriptedCrm(batch_limit=100)
    await app.execute(
        "INSERT INTO contacts (email, first_name, brevo_sync_status) SELECT n || '@example.com', "
        "CASE n WHEN 7 THEN '1e400' ELSE '5' END, 'Queued' FROM generate_series(1, 20) AS n"
    )
    async with running(url, crm, mapping_file=file):
        await until(app, "bool_and(brevo_sync_status IN ('Complete', 'Error')) FROM contacts")
    assert {fields["SHARE"] for fields in crm.store.values()} == {5, *sent}
    assert len(crm.store) == 19 + len(sent)
    if not sent:
        [error] = await app.fetch("SELECT brevo_processing_error AS said FROM contacts WHERE brevo_sync_status = 'Error'")
        assert error["said"].startswith("MAPPING_FAILED: SHARE: numeric value out of range; ")


async def test_a_number_in_json_beyond_any_exponent_holds_up_nobody(app, url, tmp_path):
    """The type json, unlike jsonb, checks only how it is written."""
    file = tmp_path / "mapping.toml"
    file.write_text('[brevo]\nSHARE = "first_name::json"\n')
    crm = ScriptedCrm(batch_limit=100)
    await app.execute(
        "INSERT INTO contacts (email, first_name, brevo_sync_status) SELECT n || '@example.com', "
        "CASE n WHEN 7 THEN '1e9999999999999999999' WHEN 8 THEN '{\"a\": -1E-9999999999999999999}' ELSE '5' END, 'Queued' "
        "FROM generate_series(1, 20) AS n"
    )
    async with running(url, crm, mapping_file=file):
        await until(app, "bool_and(brevo_sync_status = 'Complete') FROM contacts")
    values = {fields["email"]: fields["SHARE"] for fields in crm.store.values()}
    assert values.pop("7@example.com") == "1e9999999999999999999"
    assert values.pop("8@example.com") == {"a": "-1E-9999999999999999999"}
    assert {*values.values()} == {5}


async def test_a_bug_in_a_form_is_its_contacts_and_holds_up_nobody(app, url):
    """A plug-in's, or ours: the contact says so, and the log has the place once."""

    def form(text):
        return {"Ada": "Ada"}[text]

    crm = ScriptedCrm(batch_limit=100)
    usual = account(crm)
    accounts = {"brevo": replace(usual, forms=replace(PLAIN, text=form))}
    await app.execute(
        "INSERT INTO contacts (email, first_name, brevo_sync_status) SELECT n || '@example.com', "
        "CASE WHEN n % 10 = 0 THEN 'Eve' ELSE 'Ada' END, 'Queued' FROM generate_series(1, 100) AS n"
    )
    with capture_logs() as log:
        async with driven(Daemon(configured(accounts, database_url=as_worker(url)))):
            await until(app, "bool_and(brevo_sync_status IN ('Complete', 'Error')) FROM contacts")
    assert len(crm.store) == 90
    failed = "MAPPING_FAILED: FIRSTNAME: its conversion failed (KeyError): see the log for its traceback"
    assert await app.fetchval("SELECT count(*) FROM contacts WHERE brevo_processing_error = $1", failed) == 10
    [told] = [entry for entry in log if entry["event"] == events.CLIENT_FAILED]
    assert "in form" in told["exception"]
    assert "Eve" not in told["exception"]
