"""The table of types in docs/reference/mapping.md is what `crm-sync preview` prints for one row with all of them.

After a change it is written again by: WRITE_MANUAL=1 .venv/bin/pytest tests/commands/test_values_in_the_manual.py
"""

import json
import os
import re

import pytest

from crm_sync.sandbox.hubspot.sandbox import HubSpotSandbox
from crm_sync.sandbox.process import CRMS, settings
from tests.commands.printed import requests
from tests.manual import ROOT, page
from tests.process import ended, environment, process
from tests.roles import let_in

PAGE = ROOT / "docs" / "reference" / "mapping.md"
BEGIN, END = "<!-- types -->\n", "<!-- end of types -->\n"
HEAD = "| type | in the row | HubSpot | Brevo | Mautic | n8n |\n|---|---|---|---|---|---|\n"
NOWHERE = "http://127.0.0.1:9"
LOCAL = "timestamp"
REFUSED_BY = ("hubspot", "brevo")  # the local time
# By type: a value as Postgres reads it, which may have quotes.
VALUES = {
    "text": " Ada ",
    "char(6)": "DE",
    "boolean": "true",
    "integer": "7",
    "bigint": "9007199254740993",
    "numeric": "1.50",
    "numeric(20,0)": "12345678901234567891",
    "real": "4.7",
    "double precision": "1e-7",
    "date": "2026-01-02",
    "timestamptz": "2026-01-02 04:04:05.678+01",
    LOCAL: "2026-01-02 03:04:05",
    "time": "03:04:05",
    "uuid": "2d1e0a1c-0000-4000-8000-000000000001",
    "mood": "happy",
    "text[]": '{a," b",NULL}',
    "integer[]": "{1,2}",
    "mood[]": "{sad,happy}",
    "timestamptz[]": '{"2026-01-02 03:04:05+00"}',
    "jsonb": '{"a": [1.50, null]}',
    "jsonb, a number": "1.50",
    "jsonb, a boolean": "true",
    "jsonb, a text": '" Ada "',
    "money": "1234.5",
    "interval": "1 day 02:00",
    "int4range": "[1,3)",
    "bytea": r"\xde00",
    "inet": "192.0.2.1",
    "pair": "(1,a)",
    "priced": "(1,7.00)",
}
TYPES = {name: "jsonb" for name in VALUES if name.startswith("jsonb")}  # the others are called as they are
NAMES = {
    "mood": "an enum",
    "mood[]": "a list of an enum",
    "pair": "a composite type",
    "priced": "another, with `money` in it",
    LOCAL: "timestamp without time zone",
} | {name: name.replace("jsonb", "`jsonb`") for name in TYPES}
CASES = {"mautic": "If no record of Mautic has this address"}


async def sent(app, url, tmp_path):
    """By CRM and type: the value in the request, None if there is none."""
    await app.execute(
        "CREATE TYPE mood AS ENUM ('sad', 'happy'); CREATE TYPE pair AS (number integer, name text); "
        "CREATE TYPE priced AS (number integer, price money)"
    )
    columns = {kind: f"v{number}" for number, kind in enumerate(VALUES)}
    added = [f"ADD COLUMN {name} {TYPES.get(kind, kind)}" for kind, name in columns.items()]
    await app.execute(f"ALTER TABLE contacts {', '.join(added)}")
    literals = ", ".join("'" + value.replace("'", "''") + "'" for value in VALUES.values())
    await app.execute(f"INSERT INTO contacts (email, {', '.join(columns.values())}) VALUES ('ada@example.com', {literals})")
    mapping = tmp_path / "mapping.toml"
    mapping.write_text(
        "".join(
            f"[{crm}]\n"
            + "".join(f'{name} = "{name}"\n' for kind, name in columns.items() if not (kind == LOCAL and crm in REFUSED_BY))
            for crm in CRMS
        )
    )
    let_in(url, MAPPING_FILE=str(mapping))
    env = environment(url, MAPPING_FILE=str(mapping))
    for crm in CRMS:
        env |= settings(crm, NOWHERE)
    found = {}
    for crm in CRMS:
        async with process(env, "preview", "--email", "ada@example.com", "--crm", crm) as command:
            code, out, err = await ended(command)
        assert (code, err) == (0, ""), out
        fields = FIELDS[crm](requests(out)[CASES.get(crm, "")][-1].body)
        found[crm] = {kind: fields.get(name, fields.get(name.upper())) for kind, name in columns.items()}
    return found


FIELDS = {
    "hubspot": lambda body: body["inputs"][0]["properties"],
    "brevo": lambda body: body["attributes"],
    "mautic": lambda body: body[0],
    "n8n": lambda body: body["fields"],
}


def row(kind, found):
    values = ["refused" if kind == LOCAL and crm in REFUSED_BY else f"`{json.dumps(found[crm][kind])}`" for crm in CRMS]
    cells = [NAMES.get(kind, f"`{kind}`"), f"`{VALUES[kind]}`", *values]
    return f"| {' | '.join(cells)} |\n"


async def test_the_table_of_types_is_what_a_preview_prints(app, url, tmp_path):
    found = await sent(app, url, tmp_path)
    table = HEAD + "".join(row(kind, found) for kind in VALUES)
    if os.environ.get("WRITE_MANUAL"):
        PAGE.write_text(re.sub(f"{BEGIN}.*{END}", lambda _: BEGIN + table + END, PAGE.read_text(), flags=re.DOTALL))
    assert page("reference/mapping.md").partition(BEGIN)[2].partition(END)[0] == table


# HubSpot says the same, where its properties have types.

TYPED = {
    "since": ("date", (), "'2026-01-02'::date"),
    "seen": ("datetime", (), "'2026-01-02 03:04:05.678+00'::timestamptz"),
    "score": ("number", (), "1.50::numeric"),
    "share": ("number", (), "1e-7::float8"),
    "vip": ("bool", (), "true"),
    "mood": ("enumeration", ("sad", "happy"), "ARRAY[' sad', NULL, 'happy']"),
    "land": ("enumeration", ("DE",), "'DE'::char(6)"),
}


@pytest.fixture
async def hubspot():
    async with HubSpotSandbox(requests_per_ten_seconds=None, requests_per_day=None) as sandbox:
        for name, (kind, options, _) in TYPED.items():
            sandbox.account.define(name, kind, options)
        yield sandbox


async def told(url, hubspot, tmp_path, command, section):
    mapping = tmp_path / "mapping.toml"
    mapping.write_text("[hubspot]\n" + "".join(f'{name} = "{sql}"\n' for name, sql in section.items()))
    env = environment(url, MAPPING_FILE=str(mapping)) | settings("hubspot", hubspot.url)
    async with process(env, command, "--email", "ada@example.com", "--crm", "hubspot") as running:
        code, out, _ = await ended(running)
    return code, " ".join(out.split())


async def test_hubspot_takes_each_type_for_a_property_of_that_type(app, url, hubspot, tmp_path):
    await app.execute("INSERT INTO contacts (email) VALUES ('ada@example.com')")
    code, out = await told(url, hubspot, tmp_path, "sync", {name: sql for name, (_, _, sql) in TYPED.items()})
    assert code == 0, out
    [contact] = hubspot.contacts.values()
    assert {name: contact.properties[name] for name in TYPED} == {
        "since": "2026-01-02",
        "seen": "2026-01-02T03:04:05.678Z",
        "score": "1.50",
        "share": "1e-07",
        "vip": "true",
        "mood": "sad;happy",
        "land": "DE",
    }


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("ARRAY['a;b']", "an element of the list has a semicolon, which HubSpot takes for the end of an option"),
        ("'NaN'::float8", "no CRM takes NaN or infinity"),
        ("'infinity'::date", "infinite dates, and those before the year 1 or after 9999, are not accepted by any CRM"),
    ],
)
async def test_a_value_that_cannot_be_sent_is_told_and_nothing_is_sent(app, url, hubspot, tmp_path, sql, reason):  # noqa: PLR0917
    await app.execute("INSERT INTO contacts (email) VALUES ('ada@example.com')")
    code, out = await told(url, hubspot, tmp_path, "sync", {"score": sql})
    assert (code, hubspot.request_count) == (1, 0)
    assert f"rejected: MAPPING_FAILED: score: {reason}" in out
    code, out = await told(url, hubspot, tmp_path, "preview", {"score": sql})
    assert (code, hubspot.request_count) == (0, 0)
    assert f"request none: it would be rejected. MAPPING_FAILED: score: {reason}" in out
