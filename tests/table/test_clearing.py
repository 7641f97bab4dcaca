"""The column that records which fields of a row were sent: when it is written, and that it is not if no field is emptied."""

from contextlib import asynccontextmanager

import pytest

from crm_sync.core.outcome import Finish, Kind, Outcome
from crm_sync.core.retry import RetryPolicy, deferred, unsent
from crm_sync.crm.values import BREVO
from crm_sync.errors import ConfigurationError
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query
from crm_sync.table.clearing import Clearing, read_clearing
from crm_sync.table.contacts import Contacts
from crm_sync.table.mapping import FieldMapping, prepare_for
from crm_sync.table.matching import Matching
from crm_sync.table.overwritten import Overwritten
from crm_sync.table.schema import read_schema
from tests.roles import WORKER, as_worker
from tests.steps import Worker, insert, write

SENT = "SELECT brevo_sent_fields FROM contacts"
POLICY = RetryPolicy(3, 60.0)
FIELDS = {"FIRSTNAME": "first_name", "SMS": "phone"}


@pytest.fixture
async def on(app):
    await app.execute("SELECT crm_sync.set_clearing('brevo', true)")


@asynccontextmanager
async def clearing_worker(url, number=1, names=("FIRSTNAME", "SMS")):
    async with Database(as_worker(url), size=2) as database:
        table = (await read_schema(database)).lanes["brevo"]
        await database.fetch(query("register_worker"), number, "test", 1, "0")
        clearing = await read_clearing(database, "brevo", names, numbering=True)
        yield Worker(database, Contacts(database, table, "email", FIELDS, clearing=clearing), number)


@pytest.fixture
async def clearer(url, on):
    async with clearing_worker(url) as worker:
        yield worker


async def finish(worker, contact, outcome):
    return bool((await worker.contacts.finish([POLICY.finish(contact, outcome, 0.5)])).written)


async def deliver(app, worker, contact_id):
    await write(app, contact_id, sync_status="Queued")
    (claimed,) = await worker.claim()
    assert await finish(worker, claimed, Outcome.delivered("7"))
    return claimed


async def test_it_is_noted_down_before_a_request_and_is_exact_after_it(app, clearer):
    contact = await insert(app, "Queued")
    (claimed,) = await clearer.claim()
    assert claimed.fields == {"FIRSTNAME": "Ada", "SMS": None}
    assert (claimed.sent.before, claimed.emptied) == (0, ())
    assert await app.fetchval(SENT) == 1
    assert await finish(clearer, claimed, Outcome.delivered("7"))
    await app.execute("UPDATE contacts SET phone = '+33639980001', first_name = NULL")
    assert (await deliver(app, clearer, contact)).emptied == ("FIRSTNAME",)
    assert await app.fetchval(SENT) == 2
    await app.execute("UPDATE contacts SET phone = ''")
    assert (await deliver(app, clearer, contact)).emptied == ("SMS",)
    assert await app.fetchval(SENT) == 0
    assert (await deliver(app, clearer, contact)).emptied == ()


async def test_a_contact_whose_fields_were_all_sent_before_costs_no_statement_more(app, clearer):
    contact = await insert(app)
    await deliver(app, clearer, contact)
    await app.execute("UPDATE contacts SET first_name = 'Bo'")
    await write(app, contact, sync_status="Queued")
    statements = []
    fetch = clearer.database.fetch

    async def counted(statement, *arguments):
        statements.append(statement)
        return await fetch(statement, *arguments)

    clearer.database.fetch = counted
    (claimed,) = await clearer.claim()
    assert not any('brevo_sent_fields" =' in statement for statement in statements)
    assert await finish(clearer, claimed, Outcome.delivered("7"))
    assert await app.fetchval(SENT) == 1


@pytest.mark.parametrize(("stored", "after"), [(False, 0), (True, 1)])
@pytest.mark.parametrize("outcome", [Outcome.rejected("A", "b"), Outcome.failed("A", "b")])
async def test_refused_it_is_what_it_was_and_unknown_what_it_may_be(app, clearer, outcome, stored, after):
    await insert(app, "Queued")
    (claimed,) = await clearer.claim()
    assert (await clearer.contacts.finish([POLICY.finish(claimed, outcome, 0.5, stored=stored)])).written
    assert await app.fetchval(SENT) == after


async def test_a_contact_that_was_put_back_unsent_is_as_it_was(app, clearer):
    await insert(app, "Queued")
    (claimed,) = await clearer.claim()
    await clearer.contacts.finish([deferred(claimed)])
    assert await app.fetchval(SENT) == 0


async def test_what_a_dead_worker_was_sending_counts_as_sent(app, url, clearer):
    """Otherwise its phone would stay in the CRM forever."""
    await insert(app, "Queued")
    (claimed,) = await clearer.claim()
    await clearer.contacts.finish([Finish(claimed.id, claimed.token, Kind.ORPHANED)])
    await app.execute("UPDATE contacts SET first_name = NULL")
    async with clearing_worker(url, 2) as another:
        (claimed,) = await another.claim()
        assert claimed.emptied == ("FIRSTNAME",)


async def test_a_row_that_the_application_locks_between_claim_and_request_goes_back_unsent(app, clearer, monkeypatch):
    contact = await insert(app, "Queued")
    read = clearer.contacts._notes.note
    transaction = app.transaction()

    async def lock_first(claimed, token):
        await transaction.start()
        await app.execute("UPDATE contacts SET first_name = 'Bo' WHERE id = $1", contact)
        return await read(claimed, token)

    monkeypatch.setattr(clearer.contacts._notes, "note", lock_first)
    claimed = await clearer.contacts.claim(10, (1 << 32) | 77)
    await transaction.rollback()
    assert (claimed.contacts, [one.id for one in claimed.returned]) == ([], [contact])


async def test_a_mapping_that_fails_for_one_leaves_the_others_noted_down(app, url, on):
    await insert(app, "Queued")
    await insert(app, "Queued", "bob@example.com")
    await app.execute("UPDATE contacts SET phone = 'x' WHERE email LIKE 'bob%'")
    async with Database(as_worker(url), size=2) as database:
        table = (await read_schema(database)).lanes["brevo"]
        await database.fetch(query("register_worker"), 1, "test", 1, "0")
        clearing = await read_clearing(database, "brevo", ["FIRSTNAME"], numbering=True)
        fields = {"FIRSTNAME": "first_name", "AGE": "(phone::integer)::text"}
        claimed = await Contacts(database, table, "email", fields, clearing=clearing).claim(10, (1 << 32) | 1)
    assert [one.email for one in claimed.contacts] == ["ada@example.com"]
    assert claimed.contacts[0].fields == {"FIRSTNAME": "Ada", "AGE": None}
    assert [one.sent for one, _ in claimed.unreadable] == [None]
    assert [row[0] for row in await app.fetch(f"{SENT} ORDER BY email")] == [1, None]


async def test_a_bit_belongs_to_a_name_for_good(app, url, on):
    async with Database(as_worker(url), size=1) as database:
        assert (await read_clearing(database, "brevo", ["B", "A"], numbering=True)).bits == {"A": 1, "B": 2}
        assert (await read_clearing(database, "brevo", ["C", "A"], numbering=True)).bits == {"C": 4, "A": 1}
        assert (await read_clearing(database, "brevo", ["C", "D"], numbering=False)).bits == {"C": 4}
        with pytest.raises(ConfigurationError, match="a CRM can have 63 fields that are cleared"):
            await read_clearing(database, "brevo", [f"F{number}" for number in range(70)], numbering=True)


async def test_where_it_is_off_the_mapping_says_who_turns_it_on(app, url):
    async with Database(as_worker(url), size=1) as database:
        section = {"brevo": {"SMS": {"sql": "phone", "empty": "clear"}, "FIRSTNAME": "first_name"}}
        with pytest.raises(ConfigurationError, match=r"brevo.SMS: .* run `crm-sync clearing brevo on`"):
            await prepare_for(database, "brevo", section, {}, await read_schema(database), forms=BREVO)
        await app.execute("SELECT crm_sync.set_clearing('brevo', true)")
        assert (await prepare_for(database, "brevo", section, {}, await read_schema(database), forms=BREVO)).emptied == ["SMS"]
        of_all = await prepare_for(database, "brevo", {}, FIELDS, await read_schema(database), forms=BREVO, empty="clear")
        assert of_all.emptied == [name for name in FIELDS if name in of_all.fields]
        kept = {"brevo": {"SMS": {"sql": "phone", "empty": "keep"}, "FIRSTNAME": "first_name"}}
        assert (
            await prepare_for(database, "brevo", kept, {}, await read_schema(database), forms=BREVO, empty="clear")
        ).emptied == ["FIRSTNAME"]


@pytest.mark.parametrize(
    ("section", "empty", "said"),
    [
        ({"name": {"sql": "first_name", "empty": "clear"}}, "keep", 'MAPPING_FILE: brevo.name: .*: remove empty = "clear"'),
        ({"name": "first_name"}, "clear", "BREVO_EMPTY: .*: unset it, or set it to keep"),
        ({"name": {"sql": "first_name", "empty": "keep"}}, "clear", "BREVO_EMPTY: .*: unset it, or set it to keep"),
    ],
)
@pytest.mark.usefixtures("on")
async def test_a_client_that_cannot_clear_fields_is_not_asked_to(url, section, empty, said):
    async with Database(as_worker(url), size=1) as database:
        with pytest.raises(ConfigurationError, match=said) as error:
            await prepare_for(database, "brevo", {"brevo": section}, {}, await read_schema(database), empty=empty)
        assert "the client of brevo cannot clear fields" in str(error.value)
        kept = {"brevo": {"name": {"sql": "first_name", "empty": "keep"}}}
        assert (await prepare_for(database, "brevo", kept, {}, await read_schema(database))).emptied == []


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ({"sql": "phone", "empty": "erase"}, 'empty must be "keep" or "clear"'),
        ({"sql": "phone", "empti": "clear"}, "unknown option empti; the options are sql, empty, subscribe, set"),
        ({"empty": "clear"}, "expected an SQL expression in quotes"),
        ({"sql": "phone", "subscribe": "yes"}, "subscribe must be true or false"),
        (7, "expected an SQL expression in quotes"),
    ],
)
async def test_an_option_that_there_is_not_is_told(url, field, said):
    async with Database(as_worker(url), size=1) as database:
        with pytest.raises(ConfigurationError, match=f"MAPPING_FILE: brevo.SMS: {said}"):
            await prepare_for(database, "brevo", {"brevo": {"SMS": field}}, {}, await read_schema(database))


async def test_the_address_is_never_emptied(app, url, on):
    async with Database(as_worker(url), size=1) as database:
        schema = await read_schema(database)
        with pytest.raises(ConfigurationError, match="the address is never cleared"):
            await prepare_for(database, "brevo", {"brevo": {"email": {"sql": "email", "empty": "clear"}}}, {}, schema)
        mapping = await prepare_for(
            database, "brevo", {"brevo": {"email": "email", "SMS": "phone"}}, {}, schema, forms=BREVO, empty="clear"
        )
        assert mapping.emptied == ["SMS"]


async def test_a_lane_without_such_fields_reads_and_writes_nothing_for_it(url):
    async with Database(as_worker(url), size=1) as database:
        assert Clearing("brevo").column((await read_schema(database)).lanes["brevo"]) == {}
    assert not Clearing("brevo")


async def test_a_table_has_the_column_only_where_it_is_on_and_undoing_takes_it_off(app):
    has = "SELECT crm_sync.has_column('brevo_sent_fields')"
    assert not await app.fetchval(has)
    await app.execute("SELECT crm_sync.set_clearing('brevo', true)")
    await app.execute("SELECT crm_sync.set_clearing('brevo', true)")
    may = "SELECT has_column_privilege($1, 'contacts', 'brevo_sent_fields', 'UPDATE')"
    assert await app.fetchval(may, WORKER)
    assert "brevo_sent_fields" in await app.fetchval(
        "SELECT string_agg(s.statement, '; ') FROM crm_sync.undo_steps('{brevo}', FALSE, FALSE) AS s"
    )
    await app.execute("SELECT crm_sync.set_clearing('brevo', false)")
    assert not await app.fetchval(has)
    assert not await app.fetchval("SELECT crm_sync.has_column('brevo_sent_to')")


@pytest.mark.parametrize("in_flight", [False, True])
async def test_what_landed_after_another_worker_had_taken_over_is_emptied_too(app, url, clearer, in_flight):
    contact = await insert(app, "Queued")
    (stale,) = await clearer.claim()
    await clearer.contacts.finish([Finish(stale.id, stale.token, Kind.ORPHANED)])
    await app.execute("UPDATE contacts SET first_name = NULL")
    async with clearing_worker(url, 2) as another:
        (claimed,) = await another.claim()
        late = POLICY.finish(stale, Outcome.delivered("7"), 0.5)
        overwritten = Overwritten(
            clearer.database, clearer.contacts.table, keeps_records=True, clearing=clearer.contacts.clearing
        )
        if not in_flight:
            assert await finish(another, claimed, Outcome.delivered("7"))
            assert await app.fetchval(SENT) == 0
        overwritten.add([late], [])
        assert await overwritten.flip() == 1
        if in_flight:
            assert await finish(another, claimed, Outcome.delivered("7"))
        (again,) = await another.claim()
        assert again.emptied == ("FIRSTNAME",)
    assert again.id == contact


# The record that it is about.


@pytest.mark.parametrize("written", ["'8'", "NULL", "''", "'70'"])
async def test_what_was_put_into_a_record_that_the_row_has_no_more_does_not_count(app, clearer, written):
    contact = await insert(app)
    await deliver(app, clearer, contact)
    await app.execute(f"UPDATE contacts SET brevo_contact_id = {written}, first_name = NULL")
    await write(app, contact, sync_status="Queued")
    (claimed,) = await clearer.claim()
    assert (claimed.sent.before, claimed.emptied) == (0, ())


async def test_it_counts_again_with_the_record_that_it_is_about(app, clearer):
    contact = await insert(app)
    await deliver(app, clearer, contact)
    await app.execute("UPDATE contacts SET brevo_contact_id = '8', first_name = NULL")
    await app.execute("UPDATE contacts SET brevo_contact_id = '7'")
    assert (await deliver(app, clearer, contact)).emptied == ("FIRSTNAME",)


async def test_what_is_sent_to_the_other_record_counts_there(app, clearer):
    contact = await insert(app)
    await app.execute("UPDATE contacts SET phone = '+33639980001'")
    await deliver(app, clearer, contact)
    await app.execute("UPDATE contacts SET brevo_contact_id = '8', phone = NULL")
    await write(app, contact, sync_status="Queued")
    (claimed,) = await clearer.claim()
    assert claimed.emptied == ()
    assert await finish(clearer, claimed, Outcome.delivered("8"))
    assert await about(app) == (1, "8", "8")
    await app.execute("UPDATE contacts SET first_name = NULL")
    assert (await deliver(app, clearer, contact)).emptied == ("FIRSTNAME",)


@pytest.mark.parametrize("is_flipped_again", [False, True])
async def test_of_a_record_that_a_delivery_finds_instead_only_what_it_has_put_there_counts(app, clearer, is_flipped_again):
    contact = await insert(app)
    await app.execute("UPDATE contacts SET phone = '+33639980001'")
    await deliver(app, clearer, contact)
    await app.execute("UPDATE contacts SET phone = NULL")
    await write(app, contact, sync_status="Queued")
    (claimed,) = await clearer.claim()
    if is_flipped_again:
        await write(app, contact, sync_status="Queued")
    left = frozenset({"SMS"})  # which nobody has emptied in that one
    assert await finish(clearer, claimed, Outcome.delivered("9", left=left))
    assert await about(app) == (1, "9", "9")


@pytest.mark.parametrize("theirs", [frozenset(), frozenset({"SMS"})])
async def test_what_a_delivery_left_alone_does_not_count_where_it_was_flipped_again_either(app, clearer, theirs):
    """Otherwise the next one would empty what somebody else has put there."""
    contact = await insert(app)
    await app.execute("UPDATE contacts SET phone = '+33639980001'")
    await write(app, contact, sync_status="Queued")
    (claimed,) = await clearer.claim()
    await app.execute("UPDATE contacts SET phone = NULL")
    await write(app, contact, sync_status="Queued")
    assert await finish(clearer, claimed, Outcome.delivered("7", left=frozenset({"SMS"}))._replace(theirs=theirs))
    (claimed,) = await clearer.claim()
    assert claimed.emptied == ()


async def test_what_was_emptied_and_flipped_again_is_emptied_once_more(app, clearer):
    contact = await insert(app)
    await app.execute("UPDATE contacts SET phone = '+33639980001'")
    await deliver(app, clearer, contact)
    await app.execute("UPDATE contacts SET phone = NULL")
    await write(app, contact, sync_status="Queued")
    (claimed,) = await clearer.claim()
    assert claimed.emptied == ("SMS",)
    await write(app, contact, sync_status="Queued")
    assert await finish(clearer, claimed, Outcome.delivered("7"))
    (claimed,) = await clearer.claim()
    assert claimed.emptied == ("SMS",)


async def test_the_first_delivery_may_have_landed_in_the_record_that_the_next_one_finds(app, clearer):
    await insert(app, "Queued")
    (claimed,) = await clearer.claim()
    await clearer.contacts.finish([deferred(claimed, sent=True)])
    await app.execute("UPDATE contacts SET first_name = NULL")
    (claimed,) = await clearer.claim()
    assert claimed.emptied == ("FIRSTNAME",)
    assert await finish(clearer, claimed, Outcome.delivered("7"))
    assert await about(app) == (0, "7", "7")


async def test_crm_sync_match_makes_nothing_count(app, clearer):
    contact = await insert(app, "Queued")
    (claimed,) = await clearer.claim()
    await clearer.contacts.finish([deferred(claimed, sent=True)])
    await write(app, contact, sync_status="Skipped")
    await app.execute("UPDATE contacts SET first_name = NULL")
    matching = Matching(clearer.database, clearer.contacts.table, FieldMapping("email", {}))
    assert await matching.write([contact], ["8"]) == 1
    await write(app, contact, sync_status="Queued")
    (claimed,) = await clearer.claim()
    assert (claimed.sent.before, claimed.emptied) == (0, ())


async def test_a_twin_whose_row_gets_another_record_has_put_nothing_there(app, clearer):
    contact = await insert(app)
    await deliver(app, clearer, contact)
    await write(app, contact, sync_status="Queued")
    (twin,) = await clearer.claim()
    shared = POLICY.finish(twin, Outcome.delivered("9"), 0.5)._replace(sent_fields=unsent(twin, "9"))
    assert (await clearer.contacts.finish([shared])).written
    assert await about(app) == (0, "9", "9")


async def test_what_landed_late_in_another_record_does_not_count(app, clearer):
    contact = await insert(app, "Queued")
    (stale,) = await clearer.claim()
    await clearer.contacts.finish([Finish(stale.id, stale.token, Kind.ORPHANED)])
    await app.execute("UPDATE contacts SET first_name = NULL, brevo_contact_id = '8'")
    (claimed,) = await clearer.claim()
    assert await finish(clearer, claimed, Outcome.delivered("8"))
    contacts = clearer.contacts
    overwritten = Overwritten(clearer.database, contacts.table, keeps_records=True, clearing=contacts.clearing)
    overwritten.add([POLICY.finish(stale, Outcome.delivered("7"), 0.5)], [])
    assert await overwritten.flip() == 1
    (again,) = await clearer.claim()
    assert (again.id, again.emptied) == (contact, ())


async def about(app):
    return tuple(await app.fetchrow("SELECT brevo_sent_fields, brevo_sent_to, brevo_contact_id FROM contacts"))


# Numbers.


async def numbered(url, *names):
    async with Database(as_worker(url), size=1) as database:
        return await read_clearing(database, "brevo", names, numbering=True)


async def turned(app, *states):
    for state in states:
        await app.execute("SELECT crm_sync.set_clearing('brevo', $1)", state)


async def test_a_number_stays_while_clearing_is_turned_off_and_on(app, url, clearer):
    """The worker has not noticed. Another one has another mapping."""
    contact = await insert(app)
    await turned(app, False, True)
    assert (await numbered(url, "CITY", "SMS")).bits == {"CITY": 4, "SMS": 2}
    await deliver(app, clearer, contact)
    await app.execute("UPDATE contacts SET first_name = NULL")
    assert (await deliver(app, clearer, contact)).emptied == ("FIRSTNAME",)


async def test_a_crm_that_is_adopted_again_has_the_same_numbers(app, url, on):
    assert (await numbered(url, "A", "B")).bits == {"A": 1, "B": 2}
    await app.execute("DELETE FROM crm_sync.lanes WHERE crm = 'brevo'")
    assert (await numbered(url, "C", "B")).bits == {"C": 4, "B": 2}


async def test_where_all_numbers_are_used_up_turning_it_on_begins_another_numbering(app, url, clearer):
    contact = await insert(app)
    with pytest.raises(ConfigurationError, match="`crm-sync clearing brevo off`"):
        await numbered(url, *(f"F{number}" for number in range(70)))
    await turned(app, False, True, True)
    anew = await numbered(url, "SMS", "CITY")
    assert (anew.bits, anew.numbering) == ({"CITY": 1, "SMS": 2}, "1: ")
    # The worker of the former numbering goes on by itself: its FIRSTNAME is not taken for CITY.
    await deliver(app, clearer, contact)
    assert await about(app) == (1, "7", "7")
    async with clearing_worker(url, 2, ("CITY", "SMS")) as another:
        await app.execute("UPDATE contacts SET phone = '+33639980001'")
        assert (await deliver(app, another, contact)).sent.before == 0
        assert await about(app) == (2, "1: 7", "7")
        await app.execute("UPDATE contacts SET first_name = NULL, phone = NULL")
        await write(app, contact, sync_status="Queued")
        (claimed,) = await clearer.claim()
        assert claimed.emptied == ()
        await clearer.contacts.finish([deferred(claimed)])
        assert (await deliver(app, another, contact)).emptied == ("SMS",)
    await turned(app, False, True)
    assert (await numbered(url, "SMS")).numbering == "1: "
