"""The statements of `crm-sync retry`: which contacts they select, and what they cost."""

import itertools
import json
from collections import Counter
from datetime import timedelta

import pytest

from crm_sync.core.codes import NO_CODE
from crm_sync.core.outcome import Kind
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import render
from crm_sync.table.failed_contacts import FailedContacts
from crm_sync.table.schema import read_schema
from crm_sync.table.short_flips import Flipped
from tests.roles import as_worker
from tests.steps import insert, read, write

HOUR = timedelta(hours=1)


@pytest.fixture
async def failed(app, url):
    """The failed contacts of Brevo as seen now, by a worker's role."""
    async with Database(as_worker(url), size=1) as database:
        variables = (await read_schema(database)).lanes["brevo"].variables

        async def look(ago: timedelta | None = None) -> FailedContacts:
            now = await app.fetchval("SELECT clock_timestamp()")
            return FailedContacts(database, variables, now, None if ago is None else now - ago)

        yield look


async def flip_all(contacts: FailedContacts) -> Flipped:
    done = Flipped()
    await contacts.flip(await contacts.count(), done)
    return done


async def fails(
    app, email: str = "ada@example.com", error: str = "REJECTED: no", sync: str = "Error", **columns: object
) -> object:
    """A contact in its state after a failure, whatever the trigger would do."""
    contact = await insert(app, "New", email)
    values = {"brevo_sync_status": sync, "brevo_processing_status": "Error", "brevo_processing_error": error, **columns}
    names = ", ".join(f"{name} = ${number}" for number, name in enumerate(values, 2))
    async with app.transaction():
        await app.execute("SET LOCAL session_replication_role = replica")
        await app.execute(f"UPDATE contacts SET {names} WHERE id = $1", contact, *values.values())
    return contact


# Which contacts.


@pytest.mark.parametrize(
    ("state", "meant"),
    [
        (("Error", "Error", False), True),
        (("Error", None, False), True),  # another program's
        (("Queued", "Queued", False), True),
        (("Queued", "Processing", True), False),
        (("Processing", "Processing", True), False),
        (("Error", "Processing", True), False),
        (("Skipped", "Error", False), False),
        (("Selected", "Error", False), False),
        (("New", "Error", False), False),
        (("Complete", "Complete", False), False),
    ],
)
async def test_it_means_what_is_in_error_and_what_waits_for_a_retry(app, failed, state, meant):
    sync, processing, claimed = state
    contact = await fails(app, sync=sync, brevo_processing_status=processing, brevo_claimed_by=7 if claimed else None)
    before = await read(app, contact)
    [entry] = await (await failed()).count()
    assert entry.contacts == int(meant)
    # Even if it changed into this state since the count.
    contacts = await failed()
    rows = await contacts._flips._commit([contact])
    assert [row["became"] for row in rows] == ["flipped"] * meant
    after = await read(app, contact)
    assert after["sync_status"] == "Queued" if meant else after == before


async def test_a_field_that_was_not_sent_is_a_reason_of_a_complete_contact_only_under_its_own_code(app, failed):
    await fails(app, error="FIELD_NOT_SENT: SMS", sync="Complete")
    await fails(app, error="RATE_LIMITED: left over by another program", sync="Complete")
    counted = {entry.code: entry for entry in await (await failed()).count()}
    assert (counted["FIELD_NOT_SENT"].complete, counted["RATE_LIMITED"].contacts) == (1, 0)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("REJECTED: no", "REJECTED"),
        ("REJECTED", "REJECTED"),
        ("429: Too many", "429"),
        ("rate-limited: later", "rate-limited"),
        ("HTTPError: 500", "HTTPError"),
        ("Something went wrong", NO_CODE),
        ("Bad request: email", NO_CODE),
        ("ada@example.com: exists", NO_CODE),
        ("0639981111: bad number", NO_CODE),
        (": nothing before it", NO_CODE),
        ("", NO_CODE),
        ("A" * 60 + ": longer than the index looks", NO_CODE),
    ],
)
async def test_a_code_is_one_word_before_the_colon_and_no_person(app, failed, error, code):
    contact = await fails(app, error=error)
    contacts = await failed()
    assert [(entry.code, entry.contacts) for entry in await contacts.count()] == [(code, 1)]
    assert (await flip_all(contacts)).flipped == 1
    assert (await read(app, contact))["sync_status"] == "Queued"


async def test_contacts_in_error_without_a_word_are_counted_apart_and_not_those_withdrawn_by_writing_error(app, failed):
    silent = await fails(app, error=None)
    withdrawn = await insert(app, "Queued")
    await write(app, withdrawn, sync_status="Error")
    contacts = await failed()
    assert await contacts.count() == []
    counted = await contacts.count_silent()
    assert [(entry.code, entry.contacts) for entry in counted] == [(NO_CODE, 1)]
    done = Flipped()
    await contacts.flip(counted, done)
    assert done.flipped == 1
    assert (await read(app, silent))["sync_status"] == "Queued"
    assert (await read(app, withdrawn))["sync_status"] == "Error"


async def test_a_sample_is_of_one_that_is_meant(app, failed):
    await fails(app, error="REJECTED: a skipped one", sync="Skipped")
    await fails(app, error="REJECTED: b")
    [entry] = await (await failed()).count()
    assert entry.sample == "REJECTED: b"


# Since when.


async def counted(contacts: FailedContacts) -> tuple[int, int, int]:
    """(in time, uncertain ones among them, undated)"""
    entries = await contacts.count()
    return sum(e.contacts for e in entries), sum(e.uncertain for e in entries), sum(e.undated for e in entries)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        # It failed here last: the time is known.
        (("Error", 9, None, None, "brevo", 0.5), (1, 0, 0)),
        (("Error", 9, None, None, "brevo", 2), (0, 0, 0)),
        (("Queued", 9, None, -1, "brevo", 0.5), (1, 0, 0)),
        (("Queued", 9, None, -1, "brevo", 2), (0, 0, 0)),
        # Another CRM failed later: between the flip and that.
        (("Error", 0.6, None, None, "mautic", 0.5), (1, 0, 0)),
        (("Error", 9, None, None, "mautic", 0.5), (1, 1, 0)),
        (("Error", 9, None, None, "mautic", 2), (0, 0, 0)),
        # That other CRM has delivered since, and is no longer named.
        (("Error", 9, None, None, None, 0.5), (1, 1, 0)),
        (("Error", 9, None, None, None, 2), (0, 0, 0)),
        # Flipped in flight, delivered, and failed after that.
        (("Error", 9, 0.7, None, "mautic", 0.5), (1, 0, 0)),
        # A watch flips a waiting contact, which keeps its reason and its wait: it failed before.
        (("Queued", 0.6, None, -1, "brevo", 2), (0, 0, 0)),
        (("Queued", 0.6, None, -1, "mautic", 0.5), (1, 1, 0)),
        # It failed before its wait ended.
        (("Queued", 9, None, 2, "mautic", 0.5), (0, 0, 0)),
        # Another program's: unknown.
        (("Error", None, None, None, None, None), (0, 0, 1)),
        (("Error", 9, None, None, None, None), (0, 0, 1)),
        # Delivered, except for a field.
        (("Complete", 9, 0.5, None, None, None), (1, 0, 0)),
        (("Complete", 9, 2, None, "mautic", 0.5), (0, 0, 0)),
        # Withdrawn.
        (("Skipped", 0.6, None, None, "brevo", 0.5), (0, 0, 0)),
    ],
)
async def test_when_it_failed_is_concluded_from_what_the_row_says(app, failed, row, expected):
    sync, flipped, synced, due, last_crm, last = row  # the times in hours ago
    now = await app.fetchval("SELECT clock_timestamp()")

    def ago(hours: float | None) -> object:
        return None if hours is None else now - hours * HOUR

    await fails(
        app, error="FIELD_NOT_SENT: SMS" if sync == "Complete" else "REJECTED: no", sync=sync,
        brevo_flipped_at=ago(flipped), brevo_synced_at=ago(synced), brevo_due_at=ago(due),
        last_failed_crm=last_crm, last_retry_at=ago(last),
    )  # fmt: skip
    assert await counted(await failed(HOUR)) == expected
    assert await counted(await failed()) == (int(sync != "Skipped"), 0, 0)


async def listed(contacts: FailedContacts, ago: timedelta) -> Counter[str]:
    """How many contacts `crm-sync failed` lists, by state."""
    variables = (await read_schema(contacts._database)).lanes["brevo"].variables
    since = contacts._counted_at - ago
    page = await contacts._database.fetch(render("list_failed_contacts", variables), None, since, None, 10_000, True, None)
    return Counter(row["state"] for row in page)


async def test_what_is_listed_and_what_is_flipped_is_what_was_counted_whatever_the_row_says(app, failed):
    """Three statements have the conditions: every state with every order of times."""
    now = await app.fetchval("SELECT clock_timestamp()")
    times = (None, now - 2 * HOUR, now - HOUR / 2)
    combinations = itertools.product(
        ("Error", "Queued", "Skipped", "Complete"), times, times, times, times, (None, "brevo", "mautic"), (None, 7)
    )
    async with app.transaction():
        await app.execute("SET LOCAL session_replication_role = replica")
        await app.executemany(
            "INSERT INTO contacts (email, brevo_processing_error, brevo_sync_status, brevo_flipped_at, brevo_synced_at, "
            "brevo_due_at, last_retry_at, last_failed_crm, brevo_claimed_by) VALUES ('x', 'FIELD_NOT_SENT: SMS', $1, $2, $3, $4, "
            "$5, $6, $7)",
            list(combinations),
        )
    contacts = await failed(HOUR)
    [entry] = await contacts.count()
    assert 0 < entry.uncertain < entry.contacts
    assert await listed(contacts, HOUR) == {"in Error": entry.in_error, "waiting": entry.waiting, "Complete": entry.complete}
    done = await flip_all(contacts)
    assert (done.flipped, done.locked, done.refused) == (entry.contacts, [], [])
    assert await app.fetchval("SELECT count(*) FROM contacts WHERE brevo_processing_error IS NULL") == entry.contacts
    assert await counted(contacts) == (0, 0, entry.undated)


# Since the count.


async def test_what_a_worker_has_tried_again_since_the_count_is_left_as_it_is(app, worker, failed):
    contact = await insert(app, "Queued")
    [claimed] = await worker.claim()
    await worker.finish(claimed, Kind.RETRY, error="TIMEOUT: slow", delay_s=0.0)
    contacts = await failed()
    counts = await contacts.count()
    [claimed] = await worker.claim()
    await worker.finish(claimed, Kind.REJECTED, error="TIMEOUT: slow")
    done = Flipped()
    await contacts.flip(counts, done)
    assert done.flipped == 0
    assert await contacts._flips._commit([contact]) == [], "nor if it was found just before"
    assert (await read(app, contact))["sync_status"] == "Error"


async def test_what_was_flipped_since_the_count_and_failed_again_is_neither_found_nor_flipped(app, failed):
    """The time of the failure says nothing here, because another CRM has failed since."""
    contacts = await failed()
    now = await app.fetchval("SELECT clock_timestamp()")
    for column in ("brevo_flipped_at", "brevo_synced_at"):
        contact = await fails(app, last_failed_crm="mautic", last_retry_at=now, **{column: now})
        assert await contacts._flips._commit([contact]) == []
    assert await contacts._database.fetch(contacts._find, ["REJECTED"], None, contacts._counted_at, False, None, [], 10) == []
    assert len(await contacts._database.fetch(contacts._find, ["REJECTED"], None, now, False, None, [], 10)) == 2


@pytest.mark.parametrize("word", ["Skipped", "Queued", "New", "Complete"])
async def test_the_word_of_an_application_since_the_count_stands(app, failed, word):
    contact = await fails(app)
    contacts = await failed()
    counts = await contacts.count()
    await write(app, contact, sync_status=word)
    before = await read(app, contact)
    done = Flipped()
    await contacts.flip(counts, done)
    assert (done.flipped, done.locked) == (0, [])
    assert await read(app, contact) == before


async def test_a_lock_is_stepped_over_and_said_to_be_one(app, other_app, failed):
    held, free = await fails(app), await fails(app, "bob@example.com")
    contacts = await failed()
    async with other_app.transaction():
        await other_app.execute("SELECT FROM contacts WHERE id = $1 FOR UPDATE", held)
        rows = await contacts._flips._commit([held, free])
    assert {row["id"]: row["became"] for row in rows} == {held: "locked", free: "flipped"}


async def test_an_open_insert_that_merely_references_a_contact_locks_nothing(app, other_app, failed):
    contact = await fails(app)
    await app.execute("CREATE TABLE orders (contact_id uuid REFERENCES contacts (id))")
    contacts = await failed()
    async with other_app.transaction():
        await other_app.execute("INSERT INTO orders VALUES ($1)", contact)
        assert [row["became"] for row in await contacts._flips._commit([contact])] == ["flipped"]


# At what cost.


async def explain(contacts: FailedContacts, statement: str, *arguments: object) -> list[dict]:
    """All nodes of its plan."""
    rows = await contacts._database.fetch(f"EXPLAIN (FORMAT JSON) {statement}", *arguments)
    nodes = [json.loads(rows[0][0])[0]["Plan"]]
    for node in nodes:
        nodes += node.get("Plans", [])
    return nodes


async def test_few_failures_among_50000_contacts_are_found_by_the_index_on_their_code(app, failed):
    await app.execute(
        "INSERT INTO contacts (email, brevo_sync_status, brevo_processing_error) "
        "SELECT n || '@example.com', 'Error', "
        "CASE WHEN n % 1000 = 0 THEN 'TIMEOUT: slow' WHEN n % 100 = 0 THEN 'REJECTED: no' END "
        "FROM generate_series(1, 50000) AS n"
    )
    contacts = await failed()
    for analyzed in (False, True):
        if analyzed:
            await app.execute("ANALYZE contacts")
        find = await explain(contacts, contacts._find, ["TIMEOUT"], None, contacts._counted_at, False, None, [], 1000)
        [scan] = [node for node in find if node.get("Relation Name") == "contacts"]
        assert scan["Index Name"] == "idx_contacts_brevo_processing_error"
        assert "TIMEOUT" in scan["Index Cond"] or "$1" in scan["Index Cond"]
        count = await explain(contacts, contacts._count, None, None)
        lane = (await read_schema(contacts._database)).lanes["brevo"]
        page = await explain(contacts, render("list_failed_contacts", lane.variables), ["TIMEOUT"], None, None, 50, False, None)
        [scan] = [node for node in page if node.get("Relation Name") == "contacts"]
        assert scan["Index Name"] == "idx_contacts_brevo_processing_error"
        [scan] = [node for node in count if node.get("Relation Name") == "contacts"]
        assert scan["Index Name"] == "idx_contacts_brevo_processing_error"


async def test_a_flip_looks_contacts_up_by_their_key(app, failed):
    await app.execute("INSERT INTO contacts (email) SELECT n::text FROM generate_series(1, 5000) AS n")
    ids = [row[0] for row in await app.fetch("SELECT id FROM contacts LIMIT 500")]
    contacts = await failed()
    scans = [
        node for node in await explain(contacts, contacts._flips._statement, ids, contacts._counted_at) if "Index Name" in node
    ]
    assert [scan["Index Name"] for scan in scans] == ["contacts_pkey"] * 3
    assert "Seq Scan" not in str(scans)
