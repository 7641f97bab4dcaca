"""The contacts table changes under a worker: noticed at the tick, reported with what to do, and followed without a restart."""

import asyncio
from collections import Counter
from dataclasses import replace

import pytest
import structlog

from crm_sync import events, measurements
from crm_sync.core.waits import USUAL
from crm_sync.postgres.pool import Database
from crm_sync.table.schema import inspect_schema
from tests.commands.test_check import SWAP
from tests.daemon.test_lane_faults import told, true
from tests.harness import ALL_COMPLETE, TIMEOUT_S, ScriptedCrm, running, until, until_asleep
from tests.roles import WORKER, adopt, as_worker, let_in
from tests.tiers import slow

# So long that a held lane is reopened only if the change itself is noticed.
QUICK = replace(USUAL, tick_s=0.05, first_mending_look_s=1800.0, longest_mending_look_s=1800.0, proof_s=0.01)
FAULT = "SELECT fault FROM crm_sync.lanes WHERE crm = 'brevo'"
FAULTY = "fault IS NOT NULL FROM crm_sync.lanes WHERE crm = 'brevo'"
WELL = "fault IS NULL FROM crm_sync.lanes WHERE crm = 'brevo'"
NEW_CONTACT = (
    "INSERT INTO contacts (email, first_name, brevo_sync_status) VALUES (gen_random_uuid() || '@x.org', 'Ada', 'Queued')"
)
SMALL_KEY = "CREATE TABLE contacts (id serial PRIMARY KEY, email text, first_name text)"
DELIVERED = f"{ALL_COMPLETE} WHERE brevo_sync_status <> 'New'"


@pytest.fixture
def crm() -> ScriptedCrm:
    return ScriptedCrm()


async def adopt_again(url):
    # Otherwise the log of a worker in this process would be mixed with the grants.
    with structlog.testing.capture_logs():
        await asyncio.to_thread(adopt, url)
        await asyncio.to_thread(let_in, url)


CHANGES = {
    "a trigger of ours is disabled": (
        "ALTER TABLE contacts DISABLE TRIGGER crm_sync_brevo_update",
        "ALTER TABLE contacts ENABLE TRIGGER crm_sync_brevo_update",
        "the trigger crm_sync_brevo_update is disabled",
    ),
    "a trigger of ours is dropped": (
        "DROP TRIGGER crm_sync_brevo_key ON contacts",
        None,
        "has no trigger crm_sync_brevo_key: run `crm-sync migrate`",
    ),
    "a rule also does something": (
        "CREATE TABLE audit (id uuid); CREATE RULE audit AS ON UPDATE TO contacts DO ALSO INSERT INTO audit VALUES (NEW.id)",
        "DROP RULE audit ON contacts",
        "DROP RULE audit ON public.contacts",
    ),
    "a rule does something instead": (
        "CREATE RULE frozen AS ON UPDATE TO contacts WHERE OLD.first_name = 'Eve' DO INSTEAD NOTHING",
        "DROP RULE frozen ON contacts",
        "DROP RULE frozen ON public.contacts",
    ),
    "a column of ours is renamed": (
        "ALTER TABLE contacts RENAME brevo_attempts TO tries",
        "ALTER TABLE contacts RENAME tries TO brevo_attempts",
        "has no column brevo_attempts",
    ),
    "the key is renamed": (
        "ALTER TABLE contacts RENAME id TO uid",
        "ALTER TABLE contacts RENAME uid TO id",
        "no longer has a column id. If it was renamed: run `crm-sync adopt`",
    ),
    "row level security hides rows": (
        "ALTER TABLE contacts ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE contacts DISABLE ROW LEVEL SECURITY",
        f"row level security may hide rows of public.contacts from the role {WORKER}",
    ),
}


@pytest.mark.parametrize("case", CHANGES)
async def test_what_is_in_the_way_is_told_before_a_contact_meets_it_and_over_at_once_when_it_is_gone(app, url, crm, case):
    changed, undone, reason = CHANGES[case]
    async with running(url, crm, waits=QUICK):
        await until_asleep(app)
        await app.execute(changed)
        await until(app, FAULTY)
        assert reason in await app.fetchval(FAULT)
        if undone is None:
            await adopt_again(url)
        else:
            await app.execute(undone)
        await until(app, WELL)
        await app.execute(NEW_CONTACT)
        await until(app, ALL_COMPLETE)
    assert len(crm.requests) == 1


@slow
@pytest.mark.parametrize(
    "damage",
    [
        "ALTER TABLE contacts DROP COLUMN brevo_attempts CASCADE",
        "ALTER TABLE contacts DISABLE TRIGGER crm_sync_brevo_update",
        "CREATE RULE none AS ON UPDATE TO contacts DO INSTEAD NOTHING",
    ],
)
async def test_while_it_stays_so_the_catalogue_is_read_at_a_tenth_of_the_ticks(app, url, crm, damage):
    counts: Counter[str] = Counter()
    many = asyncio.Event()

    def count(measurement: object) -> None:
        if isinstance(measurement, measurements.Statement):
            counts[measurement.name] += 1
            if counts["find_dead_workers"] >= 60:
                many.set()

    async with running(url, crm, waits=QUICK):
        await until_asleep(app)
        await app.execute(damage)
        await until(app, FAULTY)
        measurements.tap(count)
        try:
            await asyncio.wait_for(many.wait(), TIMEOUT_S)
        finally:
            measurements.untap(count)
    # At 1, 2, 4 and 8 ticks' distance, then at 10; one more for each way in which it is noticed.
    assert 1 <= counts["list_columns"] <= 12, counts


async def test_a_copy_that_is_put_in_its_place_is_told_and_followed_once_it_is_adopted(app, url, crm):
    """What is flipped in the copy meanwhile is delivered, and contacts in flight are finished there."""
    crm.gate.clear()
    async with running(url, crm, waits=QUICK, shutdown_grace_s=0.1):
        await app.execute(NEW_CONTACT)
        await crm.reached(1)
        await app.execute(SWAP)
        crm.gate.set()
        await until(app, FAULTY)
        assert "is called public.contacts_old now, and public.contacts is another one" in await app.fetchval(FAULT)
        await app.execute(NEW_CONTACT)
        await adopt_again(url)
        await until(app, DELIVERED)
        await until(app, WELL)
        await until_asleep(app)
        await app.execute(NEW_CONTACT)
        await until(app, f"count(*) = 3 AND {DELIVERED}")
    triggers = "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'contacts_old'::regclass AND NOT tgisinternal"
    assert await app.fetchval(triggers) == 0


async def test_one_whose_original_is_dropped_too(app, url, crm):
    async with running(url, crm, waits=QUICK):
        await until_asleep(app)
        await app.execute(f"{SWAP}; DROP TABLE contacts_old CASCADE")
        await until(app, FAULTY)
        assert "the table that was adopted is gone now, and public.contacts is another one" in await app.fetchval(FAULT)
        await app.execute(NEW_CONTACT)
        await adopt_again(url)
        await until(app, DELIVERED)


async def test_a_table_that_is_gone_is_told_and_the_worker_stays(app, url, crm):
    async with running(url, crm, waits=QUICK) as daemon:
        await until_asleep(app)
        await app.execute("DROP TABLE contacts CASCADE")
        await true(lambda: "the adopted table is gone" in daemon.sentence)


async def test_a_key_that_is_widened_is_followed_without_a_restart(owner, empty_url, crm):
    await owner.execute(SMALL_KEY)
    await adopt_again(empty_url)
    async with running(empty_url, crm, waits=QUICK):
        await owner.execute(NEW_CONTACT)
        await until(owner, ALL_COMPLETE)
        triggers = [row[0] for row in await owner.fetch("SELECT tgname FROM pg_trigger WHERE tgname LIKE 'crm\\_sync\\_%\\_key'")]
        await owner.execute("".join(f"DROP TRIGGER {name} ON contacts;" for name in triggers))
        await owner.execute("ALTER TABLE contacts ALTER id TYPE bigint")
        await until(owner, FAULTY)
        await adopt_again(empty_url)
        await owner.execute("INSERT INTO contacts (id, email, brevo_sync_status) VALUES (3000000000, 'big@x.org', 'Queued')")
        await until(owner, ALL_COMPLETE)
    assert set(crm.store) == {1, 3_000_000_000}


async def test_a_key_of_another_kind_is_told_until_its_line_takes_it(owner, empty_url, crm):
    await owner.execute(SMALL_KEY)
    await adopt_again(empty_url)
    triggers = [row[0] for row in await owner.fetch("SELECT tgname FROM pg_trigger WHERE tgname LIKE 'crm\\_sync\\_%\\_key'")]
    await owner.execute("".join(f"DROP TRIGGER {name} ON contacts;" for name in triggers))
    definition = "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgname = $1"
    await owner.execute("ALTER TABLE contacts ALTER id DROP DEFAULT, ALTER id TYPE text")
    await adopt_again(empty_url)
    assert await owner.fetchval(definition, triggers[0])
    async with running(empty_url, crm, waits=QUICK):
        await owner.execute("INSERT INTO contacts (id, email, brevo_sync_status) VALUES ('one', 'a@x.org', 'Queued')")
        await until(owner, ALL_COMPLETE)
        await owner.execute("DROP TABLE crm_sync.brevo_line; CREATE TABLE crm_sync.brevo_line (due_at timestamptz, key bigint)")
        await owner.execute("ALTER TABLE contacts RENAME first_name TO called; ALTER TABLE contacts RENAME called TO first_name")
        async with Database(as_worker(empty_url), size=1) as database:
            schema = await inspect_schema(database)
    assert (
        "crm_sync.brevo_line does not accept keys of the type that id has now: run `crm-sync migrate`" in schema.faults["brevo"]
    )


async def test_a_column_that_is_sent_and_becomes_another_type_is_sent_as_that(app, url, crm):
    def sent_as():
        former = daemon._wiring._opened_with.get("brevo")  # none while it is being reopened
        return former and former.table.types["first_name"]

    async with running(url, crm, waits=QUICK) as daemon:
        await app.execute(
            "INSERT INTO contacts (email, first_name, brevo_sync_status) VALUES ('a@x.org', '2000-12-31', 'Queued')"
        )
        await until(app, ALL_COMPLETE)
        await app.execute("ALTER TABLE contacts ALTER first_name TYPE timestamptz USING first_name::timestamptz")
        await true(lambda: sent_as() == "pg_catalog.timestamptz")
        await app.execute("UPDATE contacts SET brevo_sync_status = 'Queued'")
        await crm.reached(2)
        await until(app, ALL_COMPLETE)
    assert crm.requests[1][0].fields["FIRSTNAME"] == "2000-12-31T00:00:00.000Z"


async def test_a_unique_index_that_is_new_has_finishes_lock_their_rows_as_strongly(app, url, crm):
    async with running(url, crm, waits=QUICK):
        await until_asleep(app)
        with structlog.testing.capture_logs() as logged:
            await app.execute("CREATE UNIQUE INDEX ON contacts (brevo_contact_id)")
            await true(lambda: told(logged, events.TABLE_CHANGED))
    assert told(logged, events.TABLE_CHANGED)[0]["lanes"] == ["brevo"]


async def test_what_concerns_no_lane_opens_none_anew(app, url, crm):
    async with running(url, crm, waits=QUICK) as daemon:
        await until_asleep(app)
        lane = daemon._wiring.lanes["brevo"]
        with structlog.testing.capture_logs() as logged:
            before = daemon._wiring._table_then
            await app.execute("ALTER TABLE contacts ADD nickname text; CREATE INDEX ON contacts (nickname)")
            await true(lambda: daemon._wiring._table_then != before)
        assert daemon._wiring.lanes["brevo"] is lane
    assert not told(logged, events.TABLE_CHANGED)


@pytest.mark.parametrize(
    ("undone", "done"),
    [
        ("DISABLE TRIGGER USER", "ENABLE TRIGGER USER"),
        ("RENAME brevo_due_at TO due_at", "RENAME due_at TO brevo_due_at"),
    ],
)
async def test_flips_that_were_unseen_for_a_moment_are_found_at_the_next_tick(app, url, crm, undone, done):
    """As in a bulk load. At the tick, the table is as it was."""
    async with running(url, crm, waits=QUICK):
        await until_asleep(app)
        async with app.transaction():
            await app.execute(f"ALTER TABLE contacts {undone}")
            await app.execute(NEW_CONTACT)
            await app.execute(f"ALTER TABLE contacts {done}")
        await until(app, ALL_COMPLETE)


async def test_contacts_of_a_partition_that_is_attached_are_delivered_at_once(owner, empty_url, crm):
    await owner.execute(
        "CREATE TABLE contacts (id int PRIMARY KEY, email text, first_name text) PARTITION BY RANGE (id); "
        "CREATE TABLE first PARTITION OF contacts FOR VALUES FROM (0) TO (10) PARTITION BY RANGE (id); "
        "CREATE TABLE low PARTITION OF first FOR VALUES FROM (0) TO (5)"
    )
    await adopt_again(empty_url)
    async with running(empty_url, crm, waits=QUICK):
        await owner.execute("INSERT INTO contacts (id, email, brevo_sync_status) VALUES (1, '1@x.org', 'Queued')")
        await until(owner, ALL_COMPLETE)
        await owner.execute(
            "CREATE TABLE second (LIKE contacts INCLUDING ALL); CREATE TABLE high (LIKE contacts INCLUDING ALL); "
            "INSERT INTO second (id, email, brevo_sync_status) VALUES (10, '10@x.org', 'Queued'); "
            "INSERT INTO high (id, email, brevo_sync_status) VALUES (5, '5@x.org', 'Queued')"
        )
        await owner.execute("ALTER TABLE contacts ATTACH PARTITION second FOR VALUES FROM (10) TO (20)")
        await until(owner, f"count(*) = 2 AND {ALL_COMPLETE}")
        await owner.execute("ALTER TABLE first ATTACH PARTITION high FOR VALUES FROM (5) TO (10)")
        await until(owner, f"count(*) = 3 AND {ALL_COMPLETE}")
    assert sorted(request[0].email for request in crm.requests) == ["10@x.org", "1@x.org", "5@x.org"]
