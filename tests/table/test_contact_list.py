"""Pages of contacts: each contact once, in order, and at a bounded cost."""

from datetime import timedelta

import pytest

from crm_sync.errors import TooSlowError
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import render
from crm_sync.table import contact_list
from crm_sync.table.contact_list import ContactList, Wanted
from crm_sync.table.schema import read_schema
from crm_sync.table.short_flips import Flipped, ShortFlips
from tests.roles import as_worker
from tests.steps import insert, read
from tests.table.test_failed_contacts import fails


@pytest.fixture
async def database(url):
    async with Database(as_worker(url), size=1) as database:
        yield database


@pytest.fixture
async def table(database):
    return (await read_schema(database)).lanes["brevo"]


async def walk(contacts: ContactList, wanted: Wanted, limit: int) -> list:
    """All pages."""
    found, after = [], None
    while True:
        page = await contacts.page(wanted, after=after, limit=limit)
        assert len(page.contacts) <= limit
        found += page.contacts
        if page.following is None:
            return found
        after = page.following


@pytest.mark.parametrize("stretch", [1, 3, 7, 1000])
@pytest.mark.parametrize("patience_s", [0.0, 10.0])
async def test_every_contact_is_on_one_page_whatever_the_stretch(app, database, table, stretch, patience_s):
    for number in range(20):
        await insert(app, "Selected" if number % 3 else "New", f"{number}@example.com")
    contacts = ContactList(database, table, stretch=stretch, patience_s=patience_s)
    found = await walk(contacts, Wanted(states=["Selected"]), limit=4)
    there = await app.fetch("SELECT id FROM contacts WHERE brevo_sync_status = 'Selected' ORDER BY id")
    assert [one.id for one in found] == [row["id"] for row in there]


async def test_a_page_of_few_among_many_ends_when_its_time_is_over_and_says_how_far_it_got(app, database, table):
    for number in range(10):
        await insert(app, "New", f"{number}@example.com")
    page = await ContactList(database, table, stretch=2, patience_s=0.0).page(Wanted(states=["Skipped"]), limit=5)
    assert (page.contacts, page.looked) == ([], 2)
    assert page.following == await app.fetchval("SELECT id FROM contacts ORDER BY id OFFSET 1 LIMIT 1")


class SlowTable:
    """A database with an endless table of which none matches.

    per_s: contacts that it reads in a second. longest_s: that a statement may take.
    """

    def __init__(self, per_s: float, longest_s: float = 2.0) -> None:
        self.per_s, self.longest_s = per_s, longest_s
        self.now_s = 0.0
        self.stretches: list[int] = []

    async def fetch(self, _statement, after, _states, _codes, stretch, _room, _within_s):
        self.stretches.append(stretch)
        self.now_s += min(stretch / self.per_s, self.longest_s)
        if stretch / self.per_s > self.longest_s:
            raise TooSlowError("canceling statement due to statement timeout")
        last = (after or 0) + stretch
        return [{"looked": stretch, "last": last, "last_key": str(last), "id": None}]


@pytest.mark.parametrize("per_s", [300, 5_000, 1_000_000])
async def test_however_slow_a_disk_is_a_page_takes_a_moment(table, per_s):
    slow = SlowTable(per_s)
    page = await ContactList(slow, table, patience_s=0.2, clock=lambda: slow.now_s).page(Wanted(states=["Error"]), limit=50)
    assert (page.looked, page.following) == (sum(slow.stretches), page.looked)
    assert slow.now_s <= 0.2 + max(0.2, slow.stretches[0] / per_s)


async def test_a_stretch_that_takes_too_long_ends_the_page_before_it(table):
    slow = SlowTable(9_000)
    contacts = ContactList(slow, table, patience_s=10.0, clock=lambda: 0.0)  # which cannot tell that the stretches take long
    page = await contacts.page(Wanted(states=["Error"]), limit=50)
    assert (page.looked, page.following, page.following_key) == (6_200, 6_200, "6200")
    with pytest.raises(TooSlowError):
        await ContactList(SlowTable(10), table).page(Wanted(states=["Error"]), limit=50)


async def test_contacts_are_listed_by_the_code_of_their_failure(app, database, table):
    wanted = await fails(app, error="REJECTED: no")
    await fails(app, email="b@example.com", error="AMBIGUOUS: two")
    contacts = ContactList(database, table)
    page = await contacts.page(Wanted(codes=["REJECTED"]), limit=5)
    assert [one.id for one in page.contacts] == [wanted]
    assert page.contacts[0].error == "REJECTED: no"
    assert await contacts.count(Wanted(codes=["REJECTED"]), 100) == 1


@pytest.fixture(params=[10_000, 1])
def few(request, monkeypatch):
    """Found by the index of failures, or, where there are more, in stretches of the table."""
    monkeypatch.setattr(contact_list, "FEW", request.param)


async def test_contacts_are_listed_by_the_time_of_their_failure(app, database, table, few):
    now = await app.fetchval("SELECT now()")
    old = await fails(app, last_failed_crm="brevo", last_retry_at=now - timedelta(days=2))
    new = {
        await fails(app, "1@example.com", "A: no", last_failed_crm="brevo", last_retry_at=now),
        await fails(app, "2@example.com", "B: no", last_failed_crm="hubspot", last_retry_at=now, brevo_flipped_at=now),
        await fails(app, "3@example.com", "A: no", "Queued", last_failed_crm="hubspot", last_retry_at=now, brevo_due_at=now),
    }
    await insert(app, "New", "new@example.com")
    contacts = ContactList(database, table, patience_s=10.0)
    assert {one.id for one in await walk(contacts, Wanted(failed_within_s=86_400.0), limit=2)} == new
    assert {one.id for one in await walk(contacts, Wanted(failed_within_s=3 * 86_400.0), limit=2)} == {*new, old}
    assert len(await walk(contacts, Wanted(codes=["A"], failed_within_s=86_400.0), limit=1)) == 2
    assert await walk(contacts, Wanted(states=["Skipped"], failed_within_s=86_400.0), limit=1) == []


async def test_a_contact_that_was_delivered_with_something_left_out_has_not_failed(app, database, table, few):
    contact = await fails(app, error="FIELD_NOT_SENT: phone")
    await app.execute("SET session_replication_role = replica")
    await app.execute("UPDATE contacts SET brevo_sync_status = 'Complete', brevo_synced_at = now()")
    contacts = ContactList(database, table, patience_s=10.0)
    assert await walk(contacts, Wanted(failed_within_s=60.0), limit=5) == []
    [found] = await walk(contacts, Wanted(codes=["FIELD_NOT_SENT"], failed_within_s=60.0), limit=5)
    assert found.id == contact


async def test_few_failed_contacts_among_many_are_found_by_their_index(app, database, table):
    """However far from the first they are: one page has them all, without having read the others."""
    await app.execute("SET session_replication_role = replica")
    await app.execute(
        "INSERT INTO contacts (email, first_name, brevo_sync_status) "
        "SELECT n || '@example.com', 'Ada', 'Complete' FROM generate_series(1, 3000) AS n"
    )
    await app.execute("SET session_replication_role = origin")
    contact = await fails(app, last_failed_crm="brevo", last_retry_at=await app.fetchval("SELECT now()"))
    contacts = ContactList(database, table, stretch=1, patience_s=1.0)
    for wanted in (Wanted(codes=["REJECTED"]), Wanted(failed_within_s=60.0)):
        page = await contacts.page(wanted, limit=5)
        assert ([one.id for one in page.contacts], page.looked, page.following) == ([contact], 1, None)
    statement = render("list_few_failed", {**table.variables, "by_code": "TRUE"})
    told = "\n".join(row[0] for row in await database.fetch(f"EXPLAIN {statement}", None, None, None, 60.0, 10_000, 6))
    assert "Seq Scan on contacts" not in told


async def test_an_empty_table_is_one_empty_page(app, database, table):
    page = await ContactList(database, table).page(Wanted(), limit=5)
    assert (page.contacts, page.looked, page.following) == ([], 0, None)


@pytest.fixture
def change(database, table):
    statement = render("change_contacts", table.variables)

    async def change(contact, to: str, states=None, codes=None) -> Flipped:
        done = Flipped()
        await ShortFlips(database, statement, states, codes, to).flip([contact], done)
        return done

    return change


@pytest.mark.parametrize("to", ["New", "Selected", "Queued", "Skipped"])
async def test_a_contact_is_changed_as_an_application_would(app, change, to):
    contact = await insert(app, "Queued" if to == "New" else "New")
    assert (await change(contact, to)).flipped == 1
    assert (await read(app, contact))["sync_status"] == to


async def test_what_is_in_line_already_keeps_its_place(app, change):
    contact = await insert(app, "Queued")
    before = await read(app, contact)
    assert (await change(contact, "Queued")).flipped == 0
    assert await read(app, contact) == before


async def test_what_has_left_the_state_that_was_meant_is_left_as_it_is(app, change):
    contact = await insert(app, "Skipped")
    assert (await change(contact, "Queued", states=["New"])).flipped == 0
    failed = await fails(app, email="b@example.com", error="REJECTED: no")
    assert (await change(failed, "Queued", codes=["AMBIGUOUS"])).flipped == 0
    assert (await change(failed, "Queued", codes=["REJECTED"])).flipped == 1


async def test_a_locked_contact_is_not_waited_for(app, other_app, change):
    contact = await insert(app, "New")
    async with other_app.transaction():
        await other_app.execute("SELECT FROM contacts WHERE id = $1 FOR UPDATE", contact)
        assert (await change(contact, "Queued")).locked == [contact]
