"""Comparing contacts with their records in a CRM: what counts as drift, what does not, and what is queued."""

from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from crm_sync.core.drift import EXAMPLES, Drift
from crm_sync.core.identity import fold
from crm_sync.core.outcome import Outcome
from crm_sync.core.remote_schema import RemoteField, RemoteSchema
from crm_sync.core.values import PLAIN
from crm_sync.core.waits import USUAL
from crm_sync.crm.client import Record
from crm_sync.crm.values import BREVO
from crm_sync.errors import BatchRefusedError, ConfigurationError, DeclinedError, HeldBackError, LaneError, OutageError
from crm_sync.lane import comparing as module
from crm_sync.lane.comparing import Comparer, Wanted
from crm_sync.lane.patience import TRIES
from crm_sync.postgres.pool import Database
from crm_sync.table.clearing import read_clearing
from crm_sync.table.comparing import Comparing
from crm_sync.table.mapping import prepare_for
from crm_sync.table.schema import read_schema
from tests.harness import ScriptedCrm
from tests.roles import as_worker

QUICK = replace(USUAL, suspect_s=0.0, first_probe_s=0.0, longest_probe_s=0.0, report_s=0.0)
FORMS = replace(PLAIN, looks_first=True)
SECTION = {"FIRSTNAME": "first_name", "CITY": "city"}
DELIVERED = (
    "INSERT INTO contacts "
    "(email, first_name, city, brevo_sync_status, brevo_processing_status, brevo_contact_id, brevo_synced_at) "
    "SELECT n || '@example.com', 'Ada', 'Rome', 'Complete', 'Complete', n, now() FROM generate_series({}, {}) AS n"
)


class Held(ScriptedCrm):
    """The CRM's records, by id: a changed field, None for a missing record. All others have what was sent."""

    read_limit = 10

    def __init__(self, changes=None, *answers):
        super().__init__()
        self.changes = changes or {}
        self.answers = [*answers]
        self.read_of = []
        self.meanwhile = None

    async def read(self, contacts, names):
        self.read_of.append([contact.remote_id for contact in contacts])
        if self.meanwhile is not None:
            await self.meanwhile()
        if self.answers and isinstance(self.answers[0], Exception):
            raise self.answers.pop(0)
        return [self._record(contact, names) for contact in contacts]

    def _record(self, contact, names):
        change = self.changes.get(contact.remote_id, {})
        if change is None or isinstance(change, Outcome):
            return change
        values = {**contact.fields, **change}
        addresses = frozenset({fold(change.get("email", contact.email or ""))})
        return Record(addresses, {name: values.get(name) for name in names})


async def delivered(app, count, first=1):
    await app.execute(DELIVERED.format(first, first + count - 1))


@asynccontextmanager
async def comparer(url, client, section=None, tell=lambda drift: None, may_ask=None, *, forms=FORMS, **wanted):
    async def always():
        """Never declines."""

    queued = []

    async def note(contacts):
        queued.append(contacts)

    async with Database(as_worker(url), size=2) as database:
        schema = await read_schema(database)
        table = schema.lanes["brevo"]
        mapping = await prepare_for(database, "brevo", {"brevo": section or SECTION}, {}, schema, forms=forms)
        clearing = await read_clearing(database, "brevo", mapping.emptied, numbering=False)
        run = Comparer(
            client,
            Comparing(database, table, mapping, clearing),
            mapping,
            QUICK,
            drift=Drift(),
            wanted=Wanted(**wanted),
            may_ask=may_ask or always,
            tell=tell,
            queued=note,
        )
        yield run, queued


async def compared(url, client, section=None, **wanted):
    async with comparer(url, client, section, **wanted) as (run, queued):
        await run.run()
        return run.drift, queued


def differing(drift):
    return {name: found.contacts for name, found in drift.fields.items()}


@asynccontextmanager
async def past_the_triggers(app):
    """A worker's columns are written exactly as given."""
    await app.execute("SET session_replication_role = replica")
    yield
    await app.execute("SET session_replication_role = DEFAULT")


async def status(app, number):
    return await app.fetchval("SELECT brevo_sync_status FROM contacts WHERE brevo_contact_id = $1", str(number))


# What drift is.


async def test_contacts_that_are_in_the_crm_as_they_were_sent_are_no_drift(app, url):
    await delivered(app, 30)
    client = Held()
    drift, _ = await compared(url, client)
    assert (drift.compared, drift.differing, drift.unknown, drift.found, drift.fields) == (30, 0, 0, False, {})
    assert [len(one) for one in client.read_of] == [10, 10, 10]


async def test_a_field_that_is_set_only_if_it_is_empty_differs_only_where_the_crm_has_none(app, url):
    await delivered(app, 4)
    changes = {"1": {"CITY": "Oslo"}, "2": {"CITY": None}, "3": {"CITY": " "}, "4": {"CITY": 0}}
    section = {"FIRSTNAME": "first_name", "CITY": {"sql": "city", "set": "if_empty"}}
    drift, _ = await compared(url, Held(changes), section)
    assert (drift.compared, differing(drift)) == (4, {"CITY": 2})


async def test_drift_is_counted_by_contact_and_by_field_with_a_few_keys_and_no_values(app, url):
    await delivered(app, 30)
    changes = {str(n): {"FIRSTNAME": "Eve"} for n in range(1, 11)} | {"1": {"FIRSTNAME": "Eve", "CITY": "Oslo"}, "20": None}
    drift, _ = await compared(url, Held(changes))
    assert (drift.compared, drift.differing, drift.unknown, drift.found) == (29, 10, 1, True)
    assert differing(drift) == {"FIRSTNAME": 10, "CITY": 1}
    assert len(drift.fields["FIRSTNAME"].examples) == EXAMPLES
    keys = {str(row["id"]) for row in await app.fetch("SELECT id FROM contacts WHERE brevo_contact_id::int <= 10")}
    assert {example.key for example in drift.fields["FIRSTNAME"].examples} <= keys
    assert not [one for one in drift.fields["FIRSTNAME"].examples if one.row or one.crm]
    assert "Eve" not in str(drift.as_object())
    assert drift.unknown_examples == [str(await app.fetchval("SELECT id FROM contacts WHERE brevo_contact_id = '20'"))]


async def test_values_are_in_the_examples_only_where_they_are_asked_for(app, url):
    await delivered(app, 1)
    drift, _ = await compared(url, Held({"1": {"CITY": "Oslo"}}), values=True)
    [example] = drift.fields["CITY"].examples
    assert (example.row, example.crm) == ("Rome", "Oslo")


async def test_an_address_differs_as_a_field_does_and_its_case_does_not(app, url):
    await delivered(app, 2)
    await app.execute("UPDATE contacts SET email = ' 1@EXAMPLE.com ' WHERE brevo_contact_id = '1'")
    drift, _ = await compared(url, Held({"1": {"email": "1@example.com"}, "2": {"email": "other@example.com"}}))
    assert differing(drift) == {"email": 1}


async def test_what_is_empty_in_the_row_is_not_compared_for_it_is_not_sent(app, url):
    await delivered(app, 1)
    await app.execute("UPDATE contacts SET city = ' '")
    drift, _ = await compared(url, Held({"1": {"CITY": "Oslo"}}))
    assert drift.differing == 0


async def test_only_the_fields_that_are_asked_for_are_compared(app, url):
    await delivered(app, 2)
    drift, _ = await compared(url, Held({"1": {"CITY": "Oslo"}, "2": {"FIRSTNAME": "Eve"}}), fields=["CITY"])
    assert differing(drift) == {"CITY": 1}


async def test_in_line_in_flight_withdrawn_failed_or_never_sent_is_not_compared(app, url):
    await delivered(app, 5)
    for number, change in enumerate(("sync_status = 'Queued'", "sync_status = 'Skipped'", "sync_status = 'New'"), 1):
        await app.execute(f"UPDATE contacts SET brevo_{change} WHERE brevo_contact_id = '{number}'")
    async with past_the_triggers(app):
        await app.execute(
            "UPDATE contacts SET brevo_sync_status = 'Processing', brevo_processing_status = 'Processing', "
            "brevo_claimed_by = 4294967297, brevo_due_at = now() WHERE brevo_contact_id = '4'"
        )
    changes = {str(n): {"CITY": "Oslo"} for n in range(1, 5)}
    drift, _ = await compared(url, Held(changes))
    assert (drift.compared, drift.differing, drift.in_line, drift.undelivered) == (1, 0, 2, 2)


async def test_what_the_crm_did_not_take_and_the_row_says_so_is_no_drift(app, url):
    await delivered(app, 2)
    reason = "FIELD_NOT_SENT: CITY: another contact has it"
    await app.execute("UPDATE contacts SET brevo_processing_error = $1", reason)
    client = Held({"1": {"CITY": None}, "2": {"CITY": None, "FIRSTNAME": "Eve"}})
    drift, queued = await compared(url, client, flips=True)
    assert (drift.compared, drift.differing, drift.not_stored, differing(drift)) == (2, 1, {"CITY": 2}, {"FIRSTNAME": 1})
    assert queued == [1]


@pytest.mark.parametrize(
    "reason",
    [
        "FIELD_NOT_SENT: SMS: Brevo said: the city CITY is not valid",
        "FIELD_NOT_SENT: the contact was not taken off list 7 of CITY",
        "FIELD_NOT_SENT: CITIES: Brevo has no CITY",
    ],
)
async def test_a_reason_that_mentions_a_field_does_not_make_its_difference_no_drift(app, url, reason):
    await delivered(app, 1)
    await app.execute("UPDATE contacts SET brevo_processing_error = $1", reason)
    drift, _ = await compared(url, Held({"1": {"CITY": "Oslo"}}))
    assert (drift.differing, drift.not_stored) == (1, {})


async def test_what_was_left_as_the_crm_has_it_is_not_compared(app, url):
    await delivered(app, 1)
    await app.execute("UPDATE contacts SET brevo_processing_error = 'ALREADY_THERE: Brevo has it'")
    drift, _ = await compared(url, Held({"1": {"CITY": "Oslo"}}))
    assert (drift.compared, drift.left) == (0, 1)


async def test_of_rows_that_share_a_record_only_the_one_flipped_last_is_compared(app, url):
    await delivered(app, 2)
    async with past_the_triggers(app):
        await app.execute("UPDATE contacts SET brevo_contact_id = '1', city = email, brevo_flipped_at = now()")
        await app.execute("UPDATE contacts SET brevo_flipped_at = now() + interval '1 s' WHERE email = '2@example.com'")
    drift, _ = await compared(url, Held({"1": {"CITY": "2@example.com"}}))
    assert (drift.compared, drift.differing, drift.shared) == (1, 0, 1)
    # One that failed was not sent.
    async with past_the_triggers(app):
        await app.execute("UPDATE contacts SET brevo_sync_status = 'Error' WHERE email = '2@example.com'")
    drift, _ = await compared(url, Held({"1": {"CITY": "1@example.com"}}))
    assert (drift.compared, drift.differing, drift.undelivered) == (1, 0, 1)
    # If they were flipped together, it is unknown which was sent last.
    async with past_the_triggers(app):
        await app.execute("UPDATE contacts SET brevo_flipped_at = now(), brevo_sync_status = 'Complete'")
    drift, _ = await compared(url, Held({"1": {"CITY": "2@example.com"}}))
    assert (drift.compared, drift.shared) == (0, 2)


@pytest.mark.parametrize(
    "change",
    ["city = 'Oslo'", "brevo_sync_status = 'Queued'", "brevo_synced_at = clock_timestamp()", "brevo_contact_id = '7'", None],
)
async def test_what_changes_while_it_is_compared_is_no_drift(app, url, change):
    await delivered(app, 1)
    client = Held({"1": {"CITY": "Oslo"}})

    async def meanwhile():
        await app.execute("DELETE FROM contacts" if change is None else f"UPDATE contacts SET {change}")

    client.meanwhile = meanwhile
    drift, queued = await compared(url, client, flips=True)
    assert (drift.compared, drift.differing, drift.changed, queued) == (0, 0, 1, [])


async def test_another_crm_that_writes_the_row_meanwhile_is_no_change(app, url):
    await delivered(app, 1)
    client = Held({"1": {"CITY": "Oslo"}})

    async def meanwhile():
        await app.execute("UPDATE contacts SET hubspot_sync_status = 'Queued'")

    client.meanwhile = meanwhile
    drift, _ = await compared(url, client)
    assert (drift.differing, drift.changed) == (1, 0)


async def test_a_contact_that_the_mapping_fails_for_is_told_and_spoils_no_page(app, url):
    await delivered(app, 20)
    await app.execute("UPDATE contacts SET city = '0' WHERE brevo_contact_id = '7'")
    section = {"SHARE": "1.5 / (length(city) - 1)"}
    drift, _ = await compared(url, Held(), section)
    assert (drift.compared, drift.unreadable, drift.differing) == (19, 1, 0)


async def test_several_records_are_ambiguous(app, url):
    await delivered(app, 3)
    drift, _ = await compared(url, Held({"2": Outcome.rejected("AMBIGUOUS", "two")}))
    assert (drift.compared, drift.ambiguous, drift.found) == (2, 1, True)


# What is queued.


async def test_flip_queues_what_differs_in_batches_and_leaves_alone_what_is_unknown(app, url):
    await delivered(app, 250)
    changes = {str(n): {"CITY": "Oslo"} for n in range(1, 241, 2)} | {"242": None}
    drift, queued = await compared(url, Held(changes), flips=True)
    assert (drift.differing, drift.flipped, drift.unknown) == (120, 120, 1)
    assert (len(queued), sum(queued), max(queued) <= module.SMALLEST_PAGE) == (3, 120, True)
    assert await app.fetchval("SELECT count(*) FROM contacts WHERE brevo_sync_status = 'Queued'") == 120
    assert await status(app, 242) == "Complete"
    # Contacts in line are not drift.
    drift, _ = await compared(url, Held(changes))
    assert (drift.differing, drift.in_line) == (0, 120)


class Consenting(Held):
    """It shows what its records hold of consent."""

    read_members = frozenset({"emailBlacklisted", "smsBlacklisted"})


SUBSCRIBING = {"CITY": "city", "emailBlacklisted": {"sql": "false", "subscribe": True}}


@pytest.mark.parametrize("fields", [(), ("CITY",)])
async def test_who_has_opted_out_in_the_crm_is_told_apart_and_never_queued(app, url, fields):
    await delivered(app, 3)
    changes = {"1": {"emailBlacklisted": True, "CITY": "Oslo"}, "2": {"CITY": "Oslo"}, "3": {"emailBlacklisted": True}}
    drift, _ = await compared(url, Consenting(changes), SUBSCRIBING, forms=BREVO, fields=fields, flips=True)
    held_back = 1 if fields else 2
    assert (drift.differing, drift.flipped, drift.opted_out, drift.perhaps_opted_out) == (1 + held_back, 1, held_back, 0)
    assert [await status(app, number) for number in (1, 2, 3)] == ["Complete", "Queued", "Complete"]
    assert len(drift.opted_out_examples) == held_back


async def test_of_several_names_the_one_that_the_person_has_opted_out_of_decides(app, url):
    await delivered(app, 2)
    section = {**SUBSCRIBING, "smsBlacklisted": {"sql": "brevo_contact_id = '1'", "subscribe": True}}
    changes = {str(n): {"CITY": "Oslo", "smsBlacklisted": True} for n in (1, 2)}
    drift, _ = await compared(url, Consenting(changes), section, forms=BREVO, flips=True)
    assert (drift.flipped, drift.opted_out, await status(app, 1)) == (1, 1, "Queued")


@pytest.mark.parametrize("consent", ["NULL::boolean", "true", {"sql": "false"}])
async def test_a_row_that_does_not_opt_in_is_queued_whatever_the_crm_holds(app, url, consent):
    await delivered(app, 1)
    asked = consent if isinstance(consent, dict) else {"sql": consent, "subscribe": True}
    section = {"CITY": "city", "emailBlacklisted": asked}
    drift, _ = await compared(
        url, Consenting({"1": {"CITY": "Oslo", "emailBlacklisted": True}}), section, forms=BREVO, flips=True
    )
    assert (drift.flipped, drift.opted_out, drift.perhaps_opted_out) == (1, 0, 0)


async def test_of_a_client_that_does_not_show_consent_nobody_is_queued_whose_row_opts_in(app, url):
    await delivered(app, 2)
    section = {"CITY": "city", "emailBlacklisted": {"sql": "CASE brevo_contact_id WHEN '1' THEN false END", "subscribe": True}}
    drift, _ = await compared(url, Held({str(n): {"CITY": "Oslo"} for n in (1, 2)}), section, forms=BREVO, flips=True)
    assert (drift.differing, drift.flipped, drift.opted_out, drift.perhaps_opted_out) == (2, 1, 0, 1)
    assert await status(app, 1) == "Complete"


class Listing(Held):
    """It shows which lists its records are on, as Brevo does."""

    read_members = frozenset({"listIds"})
    of_all: int | None = None

    def joined(self, contact):
        return {"listIds": [self.of_all]} if self.of_all else {}

    def same(self, field, name, sent, held):
        return set(held or ()) >= set(sent) if name == "listIds" else super().same(field, name, sent, held)


LISTED = {"CITY": "city", "listIds": "ARRAY[7, 8]"}


@pytest.mark.parametrize("fields", [(), ("CITY",)])
async def test_who_is_off_a_list_that_the_row_joins_is_told_apart_and_never_queued(app, url, fields):
    """The person may have left it, on the page where the vendor lets people choose."""
    await delivered(app, 2)
    changes = {"1": {"listIds": [8], "CITY": "Oslo"}, "2": {"listIds": [7, 8, 9], "CITY": "Oslo"}}
    drift, _ = await compared(url, Listing(changes), LISTED, forms=BREVO, fields=fields, flips=True)
    assert (drift.differing, drift.flipped, drift.off_list, drift.perhaps_opted_out) == (2, 1, 1, 0)
    assert [await status(app, number) for number in (1, 2)] == ["Complete", "Queued"]
    assert len(drift.off_list_examples) == 1


async def test_nobody_is_queued_who_is_off_the_list_of_all_contacts(app, url):
    await delivered(app, 2)
    client = Listing({"1": {"listIds": [], "CITY": "Oslo"}, "2": {"listIds": [5], "CITY": "Oslo"}})
    client.of_all = 5
    drift, _ = await compared(url, client, {"CITY": "city"}, forms=BREVO, flips=True)
    assert (drift.flipped, drift.off_list, await status(app, 1)) == (1, 1, "Complete")


async def test_of_a_client_that_does_not_show_lists_nobody_is_queued_whose_row_joins_one(app, url):
    await delivered(app, 2)
    section = {"CITY": "city", "listIds": "CASE brevo_contact_id WHEN '1' THEN ARRAY[7] END"}
    drift, _ = await compared(url, Held({str(n): {"CITY": "Oslo"} for n in (1, 2)}), section, forms=BREVO, flips=True)
    assert (drift.flipped, drift.off_list, drift.perhaps_opted_out, await status(app, 1)) == (1, 0, 1, "Complete")


async def test_without_flip_nothing_is_written(app, url):
    await delivered(app, 3)
    before = await app.fetch("SELECT *, xmin::text FROM contacts")
    await compared(url, Held({"1": {"CITY": "Oslo"}}))
    assert await app.fetch("SELECT *, xmin::text FROM contacts") == before


async def test_a_row_that_somebody_has_locked_is_left_and_told(app, other_app, url):
    await delivered(app, 2)
    async with other_app.transaction():
        await other_app.execute("SELECT FROM contacts WHERE brevo_contact_id = '1' FOR UPDATE")
        drift, queued = await compared(url, Held({"1": {"CITY": "Oslo"}, "2": {"CITY": "Oslo"}}), flips=True)
    assert (drift.flipped, drift.locked, queued) == (1, 1, [1])


# Which contacts.


async def test_after_and_limit_take_a_part_and_pages_are_bounded(app, url):
    await delivered(app, 230)
    client = Held()
    drift, _ = await compared(url, client, most=120)
    assert drift.compared == 120
    rest, _ = await compared(url, client, after=drift.last_key)
    assert (rest.compared, drift.limited, rest.limited) == (110, True, False)
    assert sorted(int(one) for part in client.read_of for one in part) == [*range(1, 231)]
    assert max(map(len, client.read_of)) == Held.read_limit


@pytest.mark.parametrize(("most", "limited"), [(29, True), (30, False), (31, False)])
async def test_that_it_stopped_at_the_limit_is_told_only_where_contacts_are_left(app, url, most, limited):
    await delivered(app, 30)
    drift, _ = await compared(url, Held(), most=most)
    assert (drift.compared, drift.limited) == (min(most, 30), limited)


async def test_a_sample_is_of_delivered_contacts_only(app, url):
    await delivered(app, 300)
    await app.execute("INSERT INTO contacts (email) SELECT n || '@example.org' FROM generate_series(1, 300) AS n")
    client = Held()
    drift, _ = await compared(url, client, sample=40)
    read = [one for part in client.read_of for one in part]
    assert (drift.compared, drift.undelivered, len(set(read))) == (40, 0, 40)
    drift, _ = await compared(url, Held(), sample=1000)
    assert drift.compared == 300


async def test_it_goes_on_where_it_was_broken_off(app, url):
    await delivered(app, 150)
    client = Held()
    fails = LaneError("REFUSED", "401")
    async with comparer(url, client, tell=lambda _: client.answers.append(fails)) as (run, _):
        with pytest.raises(LaneError):
            await run.run()
        assert (run.drift.compared, run.drift.last_key is None) == (100, False)
    rest, _ = await compared(url, Held(), after=run.drift.last_key)
    assert rest.compared == 50


# What a CRM may answer.


@pytest.mark.parametrize("error", [HeldBackError("no room"), OutageError("CRM_ERROR", "500")])
async def test_what_passes_is_waited_for(app, url, error):
    await delivered(app, 3)
    drift, _ = await compared(url, Held(None, error, error))
    assert drift.compared == 3


async def test_an_outage_that_lasts_breaks_it_off(app, url):
    await delivered(app, 3)
    with pytest.raises(OutageError):
        await compared(url, Held(None, *[OutageError("CRM_ERROR", "500")] * TRIES))


async def test_an_answer_that_is_too_large_is_asked_for_by_halves(app, url):
    await delivered(app, 10)
    client = Held(None, BatchRefusedError("BROKEN_ANSWER", "over 4 MiB", retried=True))
    drift, _ = await compared(url, client)
    assert (drift.compared, [len(one) for one in client.read_of]) == (10, [10, 5, 5])


async def test_a_plug_in_that_cannot_read_says_so(app, url):
    await delivered(app, 1)
    with pytest.raises(DeclinedError, match="does not know how to read contacts"):
        await compared(url, ScriptedCrm())


async def test_a_mapping_that_does_not_fit_is_told_before_anything_is_read(app, url):
    await delivered(app, 1)

    class Other(Held):
        async def schema(self):
            return RemoteSchema("Brevo", "attribute", {"FIRSTNAME": RemoteField("FIRSTNAME", "text")})

    client = Other()
    with pytest.raises(DeclinedError, match="Brevo has no attribute CITY"):
        await compared(url, client)
    assert client.read_of == []


async def test_what_the_crm_does_not_show_among_its_fields_is_not_compared(app, url):
    await delivered(app, 1)

    class Beside(Held):
        unread = frozenset({"CITY"})

    drift, _ = await compared(url, Beside({"1": {"CITY": "Oslo"}}))
    assert (drift.differing, drift.unread) == (0, ["CITY"])


CONSENT = {"FIRSTNAME": "first_name", "emailBlacklisted": "true", "listids": "7"}


async def test_consent_and_lists_that_the_client_does_not_read_are_told_as_not_compared(app, url):
    await delivered(app, 1)
    drift, _ = await compared(url, Held({"1": {"emailBlacklisted": None}}), CONSENT, forms=BREVO)
    assert (drift.compared, drift.differing, drift.unread) == (1, 0, ["emailBlacklisted", "listids"])


async def test_those_that_it_reads_are_compared(app, url):
    await delivered(app, 1)

    class Reading(Held):
        read_members = frozenset({"emailBlacklisted", "listIds"})

    drift, _ = await compared(url, Reading({"1": {"emailBlacklisted": False}}), CONSENT, forms=BREVO)
    assert (differing(drift), drift.unread) == ({"emailBlacklisted": 1}, [])


async def test_one_that_the_record_does_not_show_is_not_compared(app, url):
    await delivered(app, 1)

    class Hiding(Held):
        read_members = frozenset({"emailBlacklisted", "listIds"})

        def _record(self, contact, names):
            record = super()._record(contact, names)
            return record._replace(values={name: value for name, value in record.values.items() if name != "listids"})

    drift, _ = await compared(url, Hiding(), CONSENT, forms=BREVO)
    assert (drift.compared, drift.differing) == (1, 0)


async def test_what_the_crm_changes_by_itself_is_told_as_not_compared(app, url):
    await delivered(app, 1)

    class Moving(Held):
        moving = frozenset({"CITY"})

    drift, _ = await compared(url, Moving({"1": {"CITY": "Oslo"}}))
    assert (drift.differing, drift.moving, drift.unread) == (0, ["CITY"], [])


@pytest.mark.parametrize("fields", [["listids"], ["emailBlacklisted", "listids"]])
async def test_where_none_of_the_fields_can_be_compared_it_says_so_and_asks_nothing(app, url, fields):
    await delivered(app, 1)
    client = Held()
    with pytest.raises(DeclinedError, match=f"brevo has nothing to compare {' and '.join(fields)} with"):
        await compared(url, client, CONSENT, forms=BREVO, fields=fields)
    assert client.read_of == []


# What is to be cleared.


CLEARED = {"FIRSTNAME": "first_name", "CITY": {"sql": "city", "empty": "clear"}}


async def cleared(app, city=" ", sent=1):
    """A contact of which this much was sent: 1, the city; 0, nothing."""
    await app.execute("SELECT crm_sync.set_clearing('brevo', true)")
    await delivered(app, 1)
    async with past_the_triggers(app):
        await app.execute("UPDATE contacts SET city = $1, brevo_sent_fields = $2, brevo_sent_to = brevo_contact_id", city, sent)
        await app.execute("INSERT INTO crm_sync.fields (crm, name, place) VALUES ('brevo', 'CITY', 0)")


@pytest.mark.parametrize(("held", "count"), [("Rome", 1), (None, 0), ("", 0), (" ", 0), ([], 0)])
async def test_what_was_to_be_cleared_and_still_has_a_value_is_drift(app, url, held, count):
    await cleared(app)
    drift, queued = await compared(url, Held({"1": {"CITY": held}}), CLEARED, forms=BREVO, flips=True)
    assert (drift.compared, drift.differing, differing(drift)) == (1, count, {"CITY": 1} if count else {})
    assert queued == [1] * count


@pytest.mark.parametrize(("city", "sent"), [(" ", 0), ("Rome", 1)])
async def test_what_crm_sync_has_never_sent_or_what_the_row_has_is_not_to_be_cleared(app, url, city, sent):
    await cleared(app, city, sent)
    drift, _ = await compared(url, Held({"1": {"CITY": "Rome"}}), CLEARED, forms=BREVO)
    assert drift.differing == 0


async def test_a_value_that_the_row_says_was_not_cleared_is_counted_apart_and_shown_as_empty_here(app, url):
    await cleared(app)
    shown, _ = await compared(url, Held({"1": {"CITY": "Rome"}}), CLEARED, forms=BREVO, values=True)
    assert shown.fields["CITY"].examples[0][1:] == ("", "Rome")
    await app.execute("UPDATE contacts SET brevo_processing_error = 'FIELD_NOT_SENT: CITY: Brevo did not clear CITY'")
    drift, _ = await compared(url, Held({"1": {"CITY": "Rome"}}), CLEARED, forms=BREVO)
    assert (drift.differing, drift.not_stored) == (0, {"CITY": 1})


async def test_it_asks_before_each_page_whether_it_may(app, url):
    await delivered(app, 150)
    asked = []

    async def may_ask():
        asked.append(1)
        if len(asked) == 3:
            raise DeclinedError("paused by hand")

    async with comparer(url, Held(), may_ask=may_ask) as (run, _):
        with pytest.raises(DeclinedError):
            await run.run()
    assert run.drift.compared == module.SMALLEST_PAGE


async def test_a_role_that_may_not_flip_is_told_before_anything_is_read(app, url):
    await delivered(app, 1)
    client = Held()
    async with comparer(url, client, flips=True) as (run, _):
        role = await app.fetchval(
            "SELECT grantee FROM information_schema.role_column_grants WHERE grantee LIKE '%worker%' LIMIT 1"
        )
        await app.execute(f'REVOKE UPDATE (brevo_sync_status) ON contacts FROM "{role}"')
        with pytest.raises(ConfigurationError, match="permission denied"):
            await run.run()
    assert client.read_of == []
