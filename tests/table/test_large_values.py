"""Values that are too long, and many that are large: named, and never more in memory than a worker has room for."""

import asyncio
import re

import pytest

from crm_sync.crm.values import BREVO, HUBSPOT, MAUTIC, N8N
from crm_sync.lane.room import MOST_IN_HAND
from crm_sync.postgres.pool import Database
from crm_sync.table import unreadable_rows
from crm_sync.table.mapping import prepare_for
from crm_sync.table.schema import read_schema
from crm_sync.table.unreadable_rows import MOST_READ, SHORT
from tests.faults.real_worker import MOST_KB, peak_kb, working
from tests.harness import ScriptedCrm, running, until
from tests.process import environment
from tests.roles import as_worker
from tests.steps import insert, read
from tests.tiers import slow

LONGEST = N8N.longest  # for a CRM without a documented limit, such as the scripted one
MAPPING = """
[brevo]
COMPANY = "company"
PARTS = "string_to_array(company, ' ')"
NOTES = "json_build_object('text', company)"
"""


@pytest.fixture
def crm() -> ScriptedCrm:
    return ScriptedCrm()


@pytest.fixture
def mapping(tmp_path):
    file = tmp_path / "mapping.toml"
    file.write_text('[brevo]\nCOMPANY = "company"\n')
    return file


async def line_up(app, count, length, name="large"):
    await app.execute(
        "INSERT INTO contacts (email, company, brevo_sync_status) "
        "SELECT $1 || n || '@example.com', repeat('x', $3::integer), 'Queued' FROM generate_series(1, $2::integer) AS n",
        name,
        count,
        length,
    )


@pytest.mark.parametrize("length", [SHORT, SHORT + 1, LONGEST])
async def test_a_value_arrives_whole_up_to_the_limit(app, url, crm, mapping, length):
    await line_up(app, 1, length)
    await line_up(app, 5, 10, "small")
    async with running(url, crm, mapping_file=mapping):
        await until(app, "bool_and(brevo_sync_status = 'Complete') FROM contacts")
    assert sorted(len(one["COMPANY"]) for one in crm.store.values()) == [10, 10, 10, 10, 10, length]


async def test_one_that_is_longer_is_an_error_with_its_field_and_length_and_the_others_go_on(app, url, crm, mapping):
    await line_up(app, 1, LONGEST + 1)
    await line_up(app, 20, 10, "small")
    async with running(url, crm, mapping_file=mapping):
        await until(app, "bool_and(brevo_sync_status IN ('Complete', 'Error')) FROM contacts")
    error = await app.fetchval("SELECT brevo_processing_error FROM contacts WHERE email LIKE 'large%'")
    assert error == f"MAPPING_FAILED: COMPANY: it is {LONGEST + 1:,} characters long, and at most {LONGEST:,} are sent"
    assert len(crm.store) == 20


@pytest.mark.parametrize(("field", "kind"), [("PARTS", "list is"), ("NOTES", "it is")])
async def test_so_is_a_list_or_a_document(app, url, crm, mapping, field, kind):  # noqa: PLR0917
    line = next(line for line in MAPPING.splitlines() if line.startswith(field))
    mapping.write_text(f"[brevo]\n{line}\n")
    await line_up(app, 1, LONGEST + 1)
    await line_up(app, 5, 10, "small")
    async with running(url, crm, mapping_file=mapping):
        await until(app, "bool_and(brevo_sync_status IN ('Complete', 'Error')) FROM contacts")
    error = await app.fetchval("SELECT brevo_processing_error FROM contacts WHERE email LIKE 'large%'")
    assert re.match(rf"MAPPING_FAILED: {field}: .*{kind} 1,000,0\d\d ", error), error
    assert len(crm.store) == 5


@pytest.mark.parametrize(("name", "forms"), [("hubspot", HUBSPOT), ("brevo", BREVO), ("mautic", MAUTIC), ("n8n", N8N)])
async def test_each_crm_has_its_limit(url, name, forms):
    assert forms.longest == (1_000_000 if name == "n8n" else 65_536)
    async with Database(as_worker(url), size=1) as database:
        schema = await read_schema(database)
        mapping = await prepare_for(database, name, {name: {"a": "first_name", "b": "1"}}, {}, schema, forms=forms)
    assert mapping.longest == {"a": forms.longest}


async def test_of_many_large_ones_only_so_much_is_in_hand(app, url, mapping, monkeypatch):
    """However many may be in flight, a hundred in one claim."""
    crm = ScriptedCrm(concurrency=100)
    crm.gate.clear()
    await line_up(app, 60, 900_000)
    async with running(url, crm, mapping_file=mapping):
        await crm.reached(MOST_READ // 900_000)
        await asyncio.sleep(0.3)  # there is no event for no further one coming
        in_hand = sum(len(contact.fields["COMPANY"]) for request in crm.requests for contact in request)
        assert in_hand <= MOST_IN_HAND + MOST_READ + 900_000
        crm.gate.set()
        await until(app, "bool_and(brevo_sync_status = 'Complete') FROM contacts")
    assert len(crm.store) == 60
    assert await app.fetchval("SELECT max(brevo_attempts) FROM contacts") == 1, "those that were put back were not tried"


async def test_a_preview_and_a_contact_that_a_person_names_are_read_as_a_whole(app, url, mapping):
    assert unreadable_rows.LONGEST_ADDRESS > 254
    contact = await insert(app, "Queued")
    await app.execute("UPDATE contacts SET email = repeat('a', 5000) WHERE id = $1", contact)
    crm = ScriptedCrm()
    async with running(url, crm, mapping_file=mapping):
        await until(app, "brevo_sync_status = 'Error' FROM contacts")
    assert (await read(app, contact))["processing_error"].startswith("INVALID_EMAIL: the email address is longer than 254")


@slow
@pytest.mark.parametrize(("count", "length", "state"), [(100, 8_000_000, "Error"), (400, 65_000, "Complete")])
async def test_a_worker_stays_below_two_hundred_megabytes(app, url, brevo, mapping, count, length, state):  # noqa: PLR0917
    names = [f"FIELD{number}" for number in range(8)]
    brevo.account.attributes |= dict.fromkeys(names, "text")
    fields = "\n".join(f'{name} = "company"' for name in names)
    mapping.write_text(f"[brevo]\n{fields}\n")
    await line_up(app, count, length)
    await line_up(app, 20, 10, "small")
    async with working(environment(url, brevo, MAPPING_FILE=str(mapping))) as worker:
        await until(app, "bool_and(brevo_sync_status IN ('Complete', 'Error')) FROM contacts")
        peak = peak_kb(worker.running.pid)
    print(f"{count} contacts with 8 fields of {length:,} characters: {peak / 1024:.0f} MiB at most")
    assert peak < MOST_KB
    assert await app.fetchval("SELECT count(*) FROM contacts WHERE brevo_sync_status::text = $1", state) >= count


@slow
async def test_nor_do_hundreds_of_addresses_that_are_none_and_have_no_end(app, url, brevo):
    """As accepted by a form without a limit. Each is refused with a sentence that quotes nothing."""
    await app.execute(
        "INSERT INTO contacts (email, brevo_sync_status) "
        "SELECT n || repeat(md5(n::text), 6250), 'Queued' FROM generate_series(1, 300) AS n"
    )
    await line_up(app, 20, 10, "small")
    async with working(environment(url, brevo)) as worker:
        await until(app, "bool_and(brevo_sync_status IN ('Complete', 'Error')) FROM contacts")
        peak = peak_kb(worker.running.pid)
    print(f"300 addresses of 200,000 characters: {peak / 1024:.0f} MiB at most")
    assert peak < MOST_KB
    reasons = await app.fetch("SELECT DISTINCT brevo_processing_error FROM contacts WHERE brevo_sync_status = 'Error'")
    assert [reason[0] for reason in reasons] == ["INVALID_EMAIL: the email address is longer than 254 characters"]
    assert len(brevo.contacts) == 20
