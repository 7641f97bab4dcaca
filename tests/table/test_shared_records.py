"""Which records of a CRM belong to several contacts with different addresses."""

import json
from datetime import UTC, datetime

import pytest

from crm_sync.core.outcome import Contact
from crm_sync.postgres.statements import render
from crm_sync.table.schema import read_schema
from crm_sync.table.shared_records import SharedRecords
from tests.tiers import one_quick

EARLY = datetime(2026, 11, 1, tzinfo=UTC)
MANY = "INSERT INTO contacts (email, brevo_contact_id) SELECT n || '@example.com', n::text FROM generate_series(1, $1) AS n"


@pytest.fixture
async def lane(worker):
    return (await read_schema(worker.database)).lanes["brevo"]


@pytest.fixture
def shared(worker, lane):
    return SharedRecords(worker.database, lane)


async def insert(app, *people):
    for email, remote_id in people:
        await app.execute("INSERT INTO contacts (email, brevo_contact_id) VALUES ($1, $2)", email, remote_id)


def contacts(*ids):
    return [Contact(number, 1, 1, remote_id, "ada@example.com", EARLY, {}) for number, remote_id in enumerate(ids)]


@pytest.mark.parametrize(
    ("emails", "is_shared"),
    [
        (["ada@example.com"], False),
        (["ada@example.com", "bob@example.com"], True),
        (["ada@example.com", " ADA@example.com\n"], False),
        (["ada@example.com", None], False),
        (["ada@example.com", "ADA@example.com", "bob@example.com"], True),
        ([None, None], False),
        ([], False),
    ],
)
async def test_a_record_is_shared_by_contacts_that_differ_in_their_address(app, shared, emails, is_shared):
    await insert(app, *((email, "7") for email in emails), ("cleo@example.com", "8"))
    assert await shared.find(contacts("7", "8", None, "")) == ({"7"} if is_shared else set())


async def test_a_contact_is_sent_without_the_id_of_such_a_record_only(app, shared):
    await insert(app, ("ada@example.com", "7"), ("bob@example.com", "7"), ("cleo@example.com", "8"))
    assert [one.remote_id for one in await shared.apart(contacts("7", "8", None))] == [None, "8", None]


@pytest.mark.parametrize("email", [None, "", " \t"])
async def test_one_without_an_address_keeps_the_id_because_it_changes_no_address(app, shared, email):
    await insert(app, ("ada@example.com", "7"), ("bob@example.com", "7"), (email, "7"))
    unaddressed = contacts("7")[0]._replace(email=email)
    assert await shared.apart([unaddressed]) == [unaddressed]


async def test_without_ids_the_database_is_not_asked(lane):
    assert await SharedRecords(None, lane).apart(contacts(None, "", None)) == contacts(None, "", None)


@pytest.mark.parametrize("analyzed", one_quick([False, True]))
async def test_it_is_found_by_the_index_and_an_id_of_everybody_is_not_counted_to_the_end(app, worker, lane, analyzed):
    await app.execute(MANY, 5_000)
    await app.execute("UPDATE contacts SET brevo_contact_id = 'none' WHERE brevo_contact_id::integer > 1000")
    if analyzed:
        await app.execute("ANALYZE contacts")
    ids = ["none", *(str(number) for number in range(1, 500))]
    statement = f"EXPLAIN (ANALYZE, FORMAT JSON) {render('find_shared_records', lane.variables)}"
    rows = await worker.database.fetch(statement, ids)
    plan = json.loads(rows[0][0])[0]["Plan"]
    scans = [node for node in nodes(plan) if node.get("Relation Name") == "contacts"]
    assert {node["Node Type"] for node in scans} <= {"Index Scan", "Index Only Scan", "Bitmap Heap Scan"}
    assert {node["Actual Loops"] for node in scans} == {len(ids)}
    [limit] = [node for node in nodes(plan) if node["Node Type"] == "Limit"]
    assert limit["Actual Rows"] * limit["Actual Loops"] <= len(ids) + 100


def nodes(plan):
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)
