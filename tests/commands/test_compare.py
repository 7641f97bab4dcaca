"""crm-sync compare: with a real worker, the sandboxes and the settings that users have."""

import asyncio
import json
import os
import pty
import re
import sys
from contextlib import asynccontextmanager

import pytest

from crm_sync.sandbox.__main__ import UNLIMITED
from crm_sync.sandbox.hubspot.sandbox import HubSpotSandbox
from crm_sync.sandbox.people import people
from crm_sync.sandbox.process import settings
from crm_sync.sandbox.server import Answer, Fault, is_about_contacts
from tests.harness import until
from tests.manual import ROOT, page
from tests.process import KEY, ended, environment, process
from tests.roles import WORKER, let_in
from tests.table.test_values import SENT, TYPES, UNUSUAL
from tests.tiers import slow

RECORDS = ("hubspot", "brevo", "mautic")
PAGE = ROOT / "docs" / "how-to" / "find-drift.md"


@asynccontextmanager
async def sandbox_of(crm):
    async with UNLIMITED[crm](0) as sandbox:
        yield sandbox


async def told(env, *arguments):
    async with process(env, "compare", *arguments) as command:
        code, out, err = await ended(command)
    assert "Traceback" not in err, err
    return code, " ".join(out.split()), " ".join(err.split())


def change(crm, record, **values):
    """A person does it in the CRM."""
    (record.properties if crm == "hubspot" else record.attributes if crm == "brevo" else record.values).update(values)


async def deliver(app, env, crm="brevo", count=None):
    """All existing contacts; with count, so many new people first."""
    if count:
        await app.execute(
            "INSERT INTO contacts (email, first_name, last_name, phone) "
            f"SELECT n || '@example.com', 'Ada', 'Lovelace', '+4930' || 1000000 + n FROM generate_series(1, {count}) AS n"
        )
    await app.execute(f"UPDATE contacts SET {crm}_sync_status = 'Queued'")
    async with process(env):
        await until(app, f"bool_and({crm}_sync_status IN ('Complete', 'Error')) FROM contacts")


# What was just delivered, and what was changed.

KINDS = {"str": ("string", "text", "text"), "bool": ("bool", "boolean", "boolean"), "int": ("number", "float", "number")} | {
    "float": ("number", "float", "number"),
    "list": ("enumeration", "multiple-choice", "multiselect"),
    "dict": ("string", "text", "text"),
}

# Sent as texts, and numbers all the same.
LARGE = ("9007199254740993", "12345678901234567891::numeric(20, 0)", "'-92233720368547758.08'::money")


def define(crm, sandbox, name, sql, values):
    place = RECORDS.index(crm)
    value = 1 if sql in LARGE else values[place] if isinstance(values, tuple) else values
    kind = KINDS[type(value).__name__][place]
    match crm:
        case "hubspot":
            sandbox.account.define(name, "string")
        case "brevo":
            sandbox.account.attributes[name.upper()] = kind
            sandbox.account.options[name.upper()] = ["sad", "happy"]
        case _:
            sandbox.account.fields[name] = kind
            sandbox.account.options[name] = ["sad", "happy"]


@slow
@pytest.mark.parametrize("crm", RECORDS)
async def test_no_kind_of_value_differs_that_was_just_delivered(app, url, tmp_path, crm):
    """Each Postgres type, read by a worker's claim, written by the client, stored by the CRM, and read back."""
    sent = {sql: values for sql, values in SENT.items() if isinstance(values, tuple | str)}
    await app.execute(TYPES)
    for setting in UNUSUAL:
        await app.execute(f'ALTER DATABASE "{url.rpartition("/")[2]}" SET {setting}')
    async with sandbox_of(crm) as sandbox:
        section = {}
        for number, (sql, values) in enumerate(sent.items()):
            section[f"v{number}"] = sql
            define(crm, sandbox, f"v{number}", sql, values)
        mapping = tmp_path / "mapping.toml"
        mapping.write_text(f"[{crm}]\n" + "".join(f"{name} = {json.dumps(sql)}\n" for name, sql in section.items()))
        read = {"MAPPING_FILE": str(mapping), "MAPPING_SEARCH_PATH": "public"}
        let_in(url, **read)
        env = environment(url, **read) | settings(crm, sandbox.url)
        await app.execute("INSERT INTO contacts (email) VALUES (' Ada@Example.com'), ('Grace@bücher.example')")
        await deliver(app, env, crm)
        assert await app.fetchval(f"SELECT count(*) FROM contacts WHERE {crm}_sync_status = 'Complete'") == 2
        code, out, err = await told(env, crm)
        assert (code, err) == (0, ""), out
        assert out.startswith(f"{crm}: 2 compared, 0 different, 0 unknown to {crm}.")
        # And each of them does where it is something else.
        for record in sandbox.contacts.values():
            values = record.properties if crm == "hubspot" else record.attributes if crm == "brevo" else record.values
            values |= {name: None for name in values if name.lower() in section}
        code, out, _ = await told(env, crm, "--json")
        kept = json.loads(out)
        differing = {*kept["fields"], *kept["not_stored"]}
        assert (code, {name.lower() for name in differing}) == (1, {*section})


@slow
@pytest.mark.parametrize("crm", RECORDS)
async def test_what_was_changed_in_the_crm_is_told_by_field_and_queued_where_that_is_asked_for(app, url, crm):
    async with sandbox_of(crm) as sandbox:
        env = environment(url) | settings(crm, sandbox.url)
        await deliver(app, env, crm, 3)
        assert await told(env, crm) == (0, f"{crm}: 3 compared, 0 different, 0 unknown to {crm}.", "")
        first, _, third = sandbox.contacts.values()
        name = {"hubspot": "lastname", "brevo": "LASTNAME", "mautic": "lastname"}[crm]
        change(crm, first, **{name: "Byron"})
        (sandbox.account.erase if crm == "hubspot" else sandbox.account.delete)(third)
        sandbox.requests.clear()
        code, out, err = await told(env, crm)
        assert (code, err) == (1, "")
        assert f"{crm}: 2 compared, 1 different, 1 unknown to {crm}." in out
        assert re.search(rf"{name} │ 1 │ [0-9a-f-]+", out)
        assert "Byron" not in out
        assert "Lovelace" not in out
        assert "To queue those that differ: add --flip." in out
        assert not [one for one in sandbox.requests if one.method != "GET" and not one.path.endswith("/batch/read")]
        code, out, _ = await told(env, crm, "--flip", "--field", name)
        assert code == 1
        assert "Queued: 1 of 1." in out
        [event] = await app.fetch("SELECT event, crm, via, details FROM crm_sync.events WHERE event = 'drift_queued'")
        assert (event["crm"], event["via"]) == (crm, "command")
        assert json.loads(event["details"]) == {"contacts": 1, "fields": [name]}
        code, out, _ = await told(env, crm)
        assert "1 compared, 0 different, 1 unknown" in out
        assert "Not compared: 1 in line or in flight." in out
        async with process(env):
            await until(app, f"bool_and({crm}_sync_status = 'Complete') FROM contacts")
        assert "2 compared, 0 different, 1 unknown" in (await told(env, crm))[1]


@pytest.mark.parametrize(("crm", "requests"), [("hubspot", 2), ("brevo", 110), ("mautic", 5)])
async def test_hubspot_is_asked_for_a_hundred_at_a_time_brevo_for_one_and_mautic_for_twenty_five(app, url, crm, requests):
    async with sandbox_of(crm) as sandbox:
        known = []
        for email in (f"{number}@example.com" for number in range(1, 111)):
            match crm:
                case "hubspot":
                    record = sandbox.account.apply(sandbox.account.plan(None, {"email": email}, {}))
                case "brevo":
                    record = sandbox.account.save({"email": email})[0]
                case _:
                    record = sandbox.account.create({"email": email})
            known.append((email, str(record.id)))
        columns = f"email, {crm}_sync_status, {crm}_contact_id"
        await app.executemany(f"INSERT INTO contacts ({columns}) VALUES ($1, 'Complete', $2)", known)
        code, out, _ = await told(environment(url) | settings(crm, sandbox.url), crm)
        assert (code, "110 compared, 0 different" in out) == (0, True), out
        assert sum(map(is_about_contacts, sandbox.requests)) == requests


@slow
async def test_a_record_that_was_merged_or_made_anew_is_found_by_its_address(app, url):
    async with sandbox_of("hubspot") as sandbox:
        env = environment(url) | settings("hubspot", sandbox.url)
        await deliver(app, env, "hubspot", 3)
        first, second, third = sandbox.contacts.values()
        sandbox.account.merge(first.id, second.id)
        third.properties["lastname"] = "Byron"
        sandbox.account.erase(third)
        sandbox.account.apply(sandbox.account.plan(None, {**third.properties, "lastname": "Lovelace"}, {}))
        code, out, _ = await told(env, "hubspot", "--field", "lastname", "--field", "email")
        assert (code, out) == (0, "hubspot: 3 compared, 0 different, 0 unknown to hubspot.")


# How it is told.


@slow
async def test_json_has_the_counts_and_keys_and_no_values(app, url, brevo):
    env = environment(url, brevo)
    await deliver(app, env, count=2)
    change("brevo", next(iter(brevo.contacts.values())), LASTNAME="Byron")
    code, out, _ = await told(env, "brevo", "--json")
    said = json.loads(out)
    assert (code, said["crm"], said["ended"], said["compared"], said["differing"]) == (1, "brevo", True, 2, 1)
    key = await app.fetchval("SELECT id::text FROM contacts WHERE brevo_contact_id = '1'")
    assert said["fields"] == {"LASTNAME": {"differing": 1, "keys": [key]}}
    assert "Byron" not in out


@pytest.mark.parametrize("options", [(), ("--json",)])
async def test_values_are_shown_on_a_terminal_only(url, brevo, options):
    code, out, err = await told(environment(url, brevo), "brevo", "--show-values", *options)
    assert (code, out) == (2, "")
    assert "--show-values is for a terminal" in err
    assert brevo.request_count == 0


@slow
async def test_on_a_terminal_values_are_shown_beside_the_keys(app, url, brevo):
    env = environment(url, brevo)
    await deliver(app, env, count=1)
    change("brevo", next(iter(brevo.contacts.values())), LASTNAME="By\x1bron")
    ours, theirs = pty.openpty()
    try:
        running = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "crm_sync", "compare", "brevo", "--show-values",
            env={**env, "PYTHONPATH": str(ROOT / "worker"), "COLUMNS": "200", "TERM": "dumb"},
            cwd="/", stdout=theirs, stderr=theirs,
        )  # fmt: skip
        assert await running.wait() == 1
        said = os.read(ours, 100_000).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert "row 'Lovelace', CRM 'By" in " ".join(said.split())
    assert "By\x1b" not in said


@slow
async def test_broken_off_it_says_why_and_how_to_go_on(app, url, brevo):
    env = environment(url, brevo)
    await deliver(app, env, count=120)
    brevo.requests.clear()
    refused = Answer(401, {"code": "unauthorized", "message": "Key not found"})
    brevo.standing_faults.append(Fault(matches=lambda call: len(brevo.requests) > 105, answer=refused))
    code, out, err = await told(env, "brevo")
    assert code == 69
    assert "brevo: 100 compared, 0 different" in out
    assert "brevo: interrupted. REFUSED:" in err
    [command] = re.findall("`crm-sync (compare brevo --after [0-9a-f-]+)`", err)
    brevo.standing_faults.clear()
    code, out, _ = await told(env, *command.split()[1:])
    assert (code, "brevo: 20 compared" in out) == (0, True)


# What is in the way.


async def test_a_paused_crm_is_not_called(app, url, brevo):
    await app.execute("UPDATE crm_sync.lanes SET held_since = now(), held_reason = 'rotation' WHERE crm = 'brevo'")
    code, _, err = await told(environment(url, brevo), "brevo")
    assert code == 69
    assert "must not be called now: paused by hand" in err
    assert brevo.request_count == 0


async def test_a_crm_that_is_not_there_is_trouble_and_no_drift(app, url):
    await app.execute(
        "INSERT INTO contacts (email, brevo_sync_status, brevo_contact_id) VALUES ('1@example.com', 'Complete', '1')"
    )
    env = environment(url) | {"BREVO_API_KEY": KEY, "BREVO_BASE_URL": "http://127.0.0.1:1"}
    code, out, err = await told(env, "brevo")
    assert (code, out) == (69, "")
    assert err.startswith("crm-sync: UNREACHABLE: ")


async def test_at_a_limit_it_says_that_there_are_more_and_how_to_go_on(app, url, brevo):
    known = [(f"{number}@example.com", str(brevo.account.save({"email": f"{number}@example.com"})[0].id)) for number in range(5)]
    await app.executemany("INSERT INTO contacts (email, brevo_sync_status, brevo_contact_id) VALUES ($1, 'Complete', $2)", known)
    code, out, _ = await told(environment(url, brevo), "brevo", "--limit", "3")
    assert (code, "brevo: 3 compared, 0 different" in out) == (0, True), out
    [command] = re.findall(
        "Stopped at the limit: there are more contacts. `crm-sync (compare brevo --limit 3 --after [0-9a-f-]+)`", out
    )
    code, out, _ = await told(environment(url, brevo), *command.split()[1:])
    assert (code, "brevo: 2 compared" in out, "limit" in out) == (0, True, False)
    assert json.loads((await told(environment(url, brevo), "brevo", "--limit", "3", "--json"))[1])["limited"] is True


async def test_n8n_cannot_be_read(app, url):
    async with sandbox_of("n8n") as sandbox:
        code, _, err = await told(environment(url) | settings("n8n", sandbox.url), "n8n")
        assert (code, sandbox.request_count) == (69, 0)
    assert "n8n cannot be compared: it keeps no records that can be read" in err


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--field", "NAME"), 2, "NAME is not in the mapping of brevo; these are: email, FIRSTNAME"),
        (("--after", "7"), 2, "the key 7 is not valid"),
        (("--after", "7", "--sample", "7"), 2, "--sample and --after exclude each other"),
        (("--limit", "7", "--sample", "7"), 2, "--sample and --limit exclude each other"),
    ],
)
async def test_what_cannot_be_meant_is_told_before_anything_is_asked(url, brevo, options, code, words):
    said = await told(environment(url, brevo), "brevo", *options)
    assert (said[0], words in said[2]) == (code, True), said
    assert brevo.request_count == 0


async def test_without_credentials_it_says_so(url):
    code, _, err = await told(environment(url), "brevo")
    assert (code, "brevo has no credentials" in err) == (78, True)


async def test_without_rights_it_says_so(app, url, brevo):
    await app.execute(f"REVOKE ALL ON contacts FROM {WORKER}")
    code, _, err = await told(environment(url, brevo), "brevo")
    assert (code, "crm-sync grants" in err) == (78, True), err


@slow
async def test_it_goes_behind_a_lane_that_has_contacts_in_line(app, url):
    """The worker delivers contacts in line before the first contact is read."""
    async with sandbox_of("hubspot") as sandbox:
        env = environment(url) | settings("hubspot", sandbox.url)
        await deliver(app, env, "hubspot", 10)
        await app.execute(
            "INSERT INTO contacts (email, hubspot_sync_status) "
            "SELECT n || '@example.org', 'Queued' FROM generate_series(1, 300) AS n"
        )
        sandbox.requests.clear()
        async with process(env):
            await until(app, "EXISTS (SELECT FROM crm_sync.living_workers)")
            code, out, _ = await told(env, "hubspot")
            await until(app, "bool_and(hubspot_sync_status = 'Complete') FROM contacts")
        assert (code, "0 different" in out) == (0, True), out


# The manual.

BEGIN, END = "<!-- report -->\n", "<!-- end of report -->\n"


@slow
async def test_the_report_in_the_manual_is_printed_after_the_bad_day_of_the_demo(app, url):
    """Written again by: WRITE_MANUAL=1 .venv/bin/pytest tests/commands/test_compare.py -k manual"""
    everybody = list(people(300, 7))
    columns = ("id", "email", "first_name", "last_name", "phone", "company")
    records = [
        (f"00000000-0000-4000-8000-{number:012}", one.email, one.first_name, one.last_name, one.phone, one.company)
        for number, one in enumerate(everybody, 1)
    ]
    await app.copy_records_to_table("contacts", columns=columns, records=records)
    async with HubSpotSandbox(requests_per_ten_seconds=None, requests_per_day=None) as sandbox:
        sandbox.misbehave()
        env = environment(url, HUBSPOT_SYNC_RETRY_DELAY_MINUTES="0.01") | settings("hubspot", sandbox.url)
        await deliver(app, env, "hubspot")
        assert "0 different, 0 unknown" in (await told(env, "hubspot"))[1]
        # An application forgets to flip what it corrects, and people work in HubSpot.
        await app.execute("UPDATE contacts SET last_name = last_name || '-Smith' WHERE right(id::text, 1) = '7'")
        well = [one for one in everybody if one.kind == "ok" and one.phone]
        for one in well[10:200:40]:
            sandbox.account.by_email(one.email).properties["phone"] = "+49 30 9876543"
        for one in well[20:22]:
            sandbox.account.erase(sandbox.account.by_email(one.email))
        async with process({**env, "COLUMNS": "100"}, "compare", "hubspot") as command:
            code, out, _ = await ended(command)
    assert code == 1
    block = f"```text\n{out}```\n"
    if os.environ.get("WRITE_MANUAL"):
        text = re.sub(f"{BEGIN}.*{END}", lambda _: BEGIN + block + END, PAGE.read_text(), flags=re.DOTALL)
        PAGE.write_text(text)
    assert page("how-to/find-drift.md").partition(BEGIN)[2].partition(END)[0] == block
