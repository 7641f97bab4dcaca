"""A lane can be misconfigured, a worker cannot: a fault of one CRM stops its lane until it is fixed, and no other lane."""

import asyncio
import re
from dataclasses import replace

import pytest
import structlog

from crm_sync import events
from crm_sync.core.waits import USUAL
from crm_sync.crm.registry import Crm
from crm_sync.daemon.daemon import Daemon
from crm_sync.postgres.pool import Database
from crm_sync.reports.lane_state import read_lane_states
from tests.harness import TIMEOUT_S, ScriptedCrm, account, configured, until, until_asleep, working
from tests.roles import WORKER, as_worker

QUICK = replace(USUAL, tick_s=0.05, first_mending_look_s=0.02, longest_mending_look_s=0.1, proof_s=0.05)
FAULTY = "fault IS NOT NULL FROM crm_sync.lanes WHERE crm = 'brevo'"
WELL = "fault IS NULL FROM crm_sync.lanes WHERE crm = 'brevo'"


@pytest.fixture
def brevo_crm():
    return ScriptedCrm()


@pytest.fixture
def hubspot_crm():
    return ScriptedCrm()


def of_both(url, brevo_crm, hubspot_crm, waits=QUICK, **settings):
    crms = {"brevo": account(brevo_crm), "hubspot": account(hubspot_crm)}
    return Daemon(configured(crms, database_url=as_worker(url), **settings), waits=waits)


async def line_up(app, *crms):
    """A new contact, in line at these CRMs."""
    columns = ", ".join(f"{crm}_sync_status" for crm in crms)
    values = ", ".join("'Queued'" for _ in crms)
    await app.execute(
        f"INSERT INTO contacts (email, first_name, {columns}) VALUES (gen_random_uuid() || '@x.org', 'Ada', {values})"
    )


async def all_complete(app, crm):
    await until(app, f"bool_and({crm}_sync_status = 'Complete') FROM contacts WHERE {crm}_sync_status <> 'New'")


async def true(condition):
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():  # noqa: ASYNC110 (a worker has no events for tests)
            await asyncio.sleep(0.01)


def told(logged, event):
    return [entry for entry in logged if entry["event"] == event]


BREAKS = {
    "a right is missing": (
        f"REVOKE UPDATE (brevo_synced_at) ON contacts FROM {WORKER}",
        f"GRANT UPDATE (brevo_synced_at) ON contacts TO {WORKER}",
        rf"the role {WORKER} lacks UPDATE on public.contacts brevo_synced_at: .*crm-sync grants {WORKER}",
    ),
    "what the others read of it may not be read": (
        f"REVOKE SELECT (brevo_due_at) ON contacts FROM {WORKER}",
        f"GRANT SELECT (brevo_due_at) ON contacts TO {WORKER}",
        rf"the role {WORKER} lacks SELECT on public.contacts brevo_due_at",
    ),
    "a column of ours was renamed": (
        "ALTER TABLE contacts RENAME COLUMN brevo_attempts TO tries",
        "ALTER TABLE contacts RENAME COLUMN tries TO brevo_attempts",
        r"no column brevo_attempts: run `crm-sync migrate`",
    ),
    "a column that is sent was renamed": (
        "ALTER TABLE contacts RENAME COLUMN first_name TO given_name",
        "ALTER TABLE contacts RENAME COLUMN given_name TO first_name",
        r"brevo\.FIRSTNAME.*first_name",
    ),
    "a trigger is disabled": (
        "ALTER TABLE contacts DISABLE TRIGGER crm_sync_brevo_update",
        "ALTER TABLE contacts ENABLE TRIGGER crm_sync_brevo_update",
        r"the trigger crm_sync_brevo_update is disabled: run `ALTER TABLE",
    ),
    "its columns are not whole": (
        "UPDATE crm_sync.lanes SET installed = FALSE WHERE crm = 'brevo'",
        "UPDATE crm_sync.lanes SET installed = TRUE WHERE crm = 'brevo'",
        r"crm-sync adopt --crm brevo",
    ),
}


@pytest.fixture
def mapping(tmp_path):
    """HubSpot's lane sends nothing that a test breaks."""
    file = tmp_path / "mapping.toml"
    file.write_text('[brevo]\nFIRSTNAME = "first_name"\n[hubspot]\nfirstname = "email"\n')
    return file


@pytest.mark.parametrize("case", BREAKS)
async def test_wrong_at_the_start_it_stands_with_its_reason_while_others_deliver_and_goes_on_once_mended(  # noqa: PLR0917
    app, url, brevo_crm, hubspot_crm, mapping, case
):
    broken, mended, reason = BREAKS[case]
    await line_up(app, "brevo", "hubspot")
    await app.execute(broken)
    with structlog.testing.capture_logs() as logged:
        async with working(of_both(url, brevo_crm, hubspot_crm, mapping_file=mapping)) as daemon:
            await all_complete(app, "hubspot")
            await until(app, "count(*) = 1 FROM crm_sync.workers")
            await true(lambda: "not to brevo" in daemon.sentence)
            assert daemon.moving
            await until(app, FAULTY)
            await app.execute(mended)
            await all_complete(app, "brevo")
            await until(app, WELL)
    faulty = told(logged, events.LANE_FAULTY)
    reasons = [entry["reason"] for entry in faulty]
    assert re.search(reason, reasons[0]), reasons
    # It may be fixed just while it is being checked, which gives another reason.
    assert len(reasons) == len(set(reasons)) <= 2
    assert {entry["crm"] for entry in faulty} == {"brevo"}
    assert len(brevo_crm.requests) == 1
    assert [entry["crm"] for entry in told(logged, events.LANE_MENDED)] == ["brevo"]


@pytest.mark.parametrize(
    "case", ["a right is missing", "what the others read of it may not be read", "a column that is sent was renamed"]
)
async def test_broken_while_it_delivers_only_that_lane_stands_until_it_is_mended(  # noqa: PLR0917
    app, url, brevo_crm, hubspot_crm, mapping, case
):
    broken, mended, reason = BREAKS[case]
    async with working(of_both(url, brevo_crm, hubspot_crm, mapping_file=mapping)):
        await line_up(app, "brevo", "hubspot")
        await all_complete(app, "brevo")
        await app.execute(broken)
        await app.execute("UPDATE contacts SET brevo_sync_status = 'Queued', hubspot_sync_status = 'Queued'")
        await until(app, FAULTY)
        assert re.search(reason, await app.fetchval("SELECT fault FROM crm_sync.lanes WHERE crm = 'brevo'"))
        await all_complete(app, "hubspot")
        await app.execute(mended)
        await all_complete(app, "brevo")
        await until(app, WELL)


@pytest.mark.parametrize("column", ["brevo_due_at", "brevo_processing_error"])
async def test_what_others_have_in_flight_is_written_when_a_column_that_their_roll_up_reads_is_dropped(
    app, url, brevo_crm, hubspot_crm, column
):
    hubspot_crm.gate.clear()
    with structlog.testing.capture_logs() as logged:
        async with working(of_both(url, brevo_crm, hubspot_crm)):
            await line_up(app, "hubspot")
            await hubspot_crm.reached(1)
            await app.execute(f"ALTER TABLE contacts DROP COLUMN {column} CASCADE")
            hubspot_crm.gate.set()
            await all_complete(app, "hubspot")
            await until(app, FAULTY)
            assert column in await app.fetchval("SELECT fault FROM crm_sync.lanes WHERE crm = 'brevo'")
    assert len(hubspot_crm.requests) == 1
    of_hubspot = [entry for entry in logged if entry.get("crm") == "hubspot"]
    assert told(of_hubspot, events.DATABASE_TROUBLE)
    assert "brevo" not in str(of_hubspot)


async def test_an_outcome_that_could_not_be_written_is_written_once_it_can_be_and_nothing_is_sent_twice(
    app, url, brevo_crm, hubspot_crm
):
    broken, mended, _ = BREAKS["a right is missing"]
    brevo_crm.gate.clear()
    async with working(of_both(url, brevo_crm, hubspot_crm)):
        await line_up(app, "brevo")
        await brevo_crm.reached(1)
        await app.execute(broken)
        brevo_crm.gate.set()
        await until(app, FAULTY)
        await until(app, "brevo_sync_status = 'Processing' FROM contacts")
        await app.execute(mended)
        await all_complete(app, "brevo")
        await until(app, WELL)
    assert len(brevo_crm.requests) == 1
    assert await app.fetchval("SELECT bool_and(brevo_claimed_by IS NULL) FROM contacts")


async def test_a_worker_that_stops_while_it_cannot_write_leaves_its_contacts_to_the_next(app, url, brevo_crm, hubspot_crm):
    broken, mended, _ = BREAKS["a right is missing"]
    brevo_crm.gate.clear()
    async with working(of_both(url, brevo_crm, hubspot_crm)):
        await line_up(app, "brevo")
        await brevo_crm.reached(1)
        await app.execute(broken)
        brevo_crm.gate.set()
        await until(app, FAULTY)
    assert await app.fetchval(f"SELECT {WELL}"), "a worker that has ended has no fault"
    await app.execute(mended)
    async with working(of_both(url, brevo_crm, hubspot_crm)):
        await all_complete(app, "brevo")


async def test_a_table_that_is_renamed_is_found_again_without_a_word_of_a_fault(app, url, brevo_crm, hubspot_crm):
    with structlog.testing.capture_logs() as logged:
        async with working(of_both(url, brevo_crm, hubspot_crm)) as daemon:
            await until_asleep(app)
            await true(lambda: all(lane.well for lane in daemon.lanes.values()))
            await app.execute("ALTER TABLE contacts RENAME TO people")
            await app.execute("INSERT INTO people (email, brevo_sync_status) VALUES ('ada@x.org', 'Queued')")
            await until(app, "bool_and(brevo_sync_status = 'Complete') FROM people")
    assert not told(logged, events.LANE_FAULTY)


async def test_one_workers_fault_stops_no_other_worker_and_is_shown_for_as_long_as_it_has_it(
    app, url, brevo_crm, hubspot_crm, tmp_path
):
    wrong = tmp_path / "wrong.toml"
    wrong.write_text('[brevo]\nFIRSTNAME = "nothing"\n')
    async with working(of_both(url, ScriptedCrm(), ScriptedCrm(), mapping_file=wrong)):
        await until(app, FAULTY)
        async with working(of_both(url, brevo_crm, hubspot_crm)) as well:
            await true(lambda: well.lanes)
            for number in range(1, 4):
                await line_up(app, "brevo", "hubspot")
                await brevo_crm.reached(number)
            await all_complete(app, "brevo")
            async with asyncio.timeout(TIMEOUT_S), Database(as_worker(url), size=1) as database:
                # With a session that was lost under load, it is recorded again.
                while (state := (await read_lane_states(database))["brevo"]).label != "faulty":  # noqa: ASYNC110 (no event for it)
                    await asyncio.sleep(0.05)
            assert "a worker cannot deliver since" in state.sentence
            assert "nothing" in state.sentence
    assert await app.fetchval(f"SELECT {WELL}")


async def test_the_fault_of_a_worker_that_was_killed_is_shown_no_more_and_gone_with_the_next(app, url, brevo_crm, hubspot_crm):
    await app.execute("UPDATE crm_sync.lanes SET fault = 'old', fault_since = now(), fault_worker = 99 WHERE crm = 'brevo'")
    async with Database(as_worker(url), size=1) as database:
        assert (await read_lane_states(database))["brevo"].fault is None
    async with working(of_both(url, brevo_crm, hubspot_crm)):
        await until(app, WELL)


@pytest.mark.parametrize("slow_s", [QUICK.slow_mapping_s, 0.0], ids=["claimed and read at once", "claimed, then read"])
async def test_a_standing_lane_gives_all_it_has_to_other_workers(app, url, brevo_crm, hubspot_crm, tmp_path, slow_s):  # noqa: PLR0917
    """The first worker is the keeper of Brevo's bell and holds its permits, then its mapping breaks; the other one delivers,
    including contacts that the first had claimed by then.
    """
    first = tmp_path / "first.toml"
    first.write_text('[brevo]\nFIRSTNAME = "last_name"\n[hubspot]\nfirstname = "email"\n')
    slow_tick = replace(QUICK, tick_s=30.0)
    ours = ScriptedCrm()
    careful = replace(slow_tick, slow_mapping_s=slow_s)
    async with working(of_both(url, ours, ScriptedCrm(), mapping_file=first, waits=careful)):
        await until_asleep(app)
        async with working(of_both(url, brevo_crm, hubspot_crm, waits=slow_tick)) as second:
            await true(lambda: "brevo" in second.lanes)
            await app.execute("ALTER TABLE contacts DROP COLUMN last_name CASCADE")
            await line_up(app, "brevo")
            await brevo_crm.reached(1)
            await until(app, FAULTY)
            await until_asleep(app)
            await line_up(app, "brevo")
            await brevo_crm.reached(2)
            await all_complete(app, "brevo")
    assert not ours.requests


async def test_contacts_of_dead_workers_are_looked_after_in_a_lane_that_stands(app, url, brevo_crm, hubspot_crm, tmp_path):
    wrong = tmp_path / "wrong.toml"
    wrong.write_text('[brevo]\nFIRSTNAME = "nothing"\n')
    await line_up(app, "brevo")
    await app.execute("INSERT INTO crm_sync.workers (id, host, pid, version) VALUES (77, 'gone', 1, '0')")
    await app.execute(
        "UPDATE contacts SET brevo_claimed_by = 77::bigint << 32 | 1, brevo_sync_status = 'Processing', "
        "brevo_processing_status = 'Processing', brevo_attempts = 1"
    )
    async with working(of_both(url, brevo_crm, hubspot_crm, mapping_file=wrong)):
        await until(app, "brevo_claimed_by IS NULL AND brevo_sync_status = 'Queued' FROM contacts")


async def test_dead_workers_are_not_forgotten_while_a_crm_cannot_be_looked_after(app, url, brevo_crm, hubspot_crm):
    broken, mended, _ = BREAKS["a column of ours was renamed"]
    await line_up(app, "brevo")
    await app.execute("INSERT INTO crm_sync.workers (id, host, pid, version) VALUES (77, 'gone', 1, '0')")
    await app.execute(
        "UPDATE contacts SET brevo_claimed_by = 77::bigint << 32 | 1, brevo_sync_status = 'Processing', "
        "brevo_processing_status = 'Processing', brevo_attempts = 1"
    )
    await app.execute(broken)
    async with working(of_both(url, brevo_crm, hubspot_crm, waits=replace(QUICK, forget_worker_s=0.0))):
        await until(app, FAULTY)
        await line_up(app, "hubspot")
        await all_complete(app, "hubspot")
        assert await app.fetchval("SELECT count(*) FROM crm_sync.workers WHERE id = 77")
        await app.execute(mended)
        await all_complete(app, "brevo")
        await until(app, "count(*) = 0 FROM crm_sync.workers WHERE id = 77")


async def test_a_right_of_all_lanes_that_is_taken_back_under_way_ends_no_worker(app, url, brevo_crm, hubspot_crm):
    async with working(of_both(url, brevo_crm, hubspot_crm)):
        await until_asleep(app)
        await app.execute(f"REVOKE SELECT ON crm_sync.workers FROM {WORKER}")
        await app.execute(f"REVOKE SELECT (id, host, pid, version, started_at) ON crm_sync.workers FROM {WORKER}")
        await until(
            app, "count(*) = 0 FROM pg_stat_activity WHERE application_name = 'crm-sync session' AND datname = current_database()"
        )
        await app.execute(
            f"GRANT SELECT (id, host, pid, version, started_at, backend_pid, backend_start) ON crm_sync.workers TO {WORKER}"
        )
        await line_up(app, "brevo", "hubspot")
        await all_complete(app, "brevo")


async def test_a_worker_without_the_right_to_note_a_fault_delivers_all_the_same(app, url, brevo_crm, hubspot_crm):
    """Its role has the GRANTs of an older version."""
    await app.execute(f"REVOKE UPDATE (fault, fault_since, fault_worker) ON crm_sync.lanes FROM {WORKER}")
    with structlog.testing.capture_logs() as logged:
        async with working(of_both(url, brevo_crm, hubspot_crm)):
            await line_up(app, "brevo")
            await all_complete(app, "brevo")
            await true(lambda: [entry for entry in told(logged, events.DATABASE_TROUBLE) if entry["loop"] == "fault"])
    assert "crm-sync grants" in told(logged, events.DATABASE_TROUBLE)[0]["reason"]


async def test_a_fault_that_is_over_is_shown_no_more_once_that_can_be_written(app, url, brevo_crm, hubspot_crm):
    broken, mended, _ = BREAKS["a right is missing"]
    await app.execute(broken)
    async with working(of_both(url, brevo_crm, hubspot_crm)) as daemon:
        await until(app, FAULTY)
        await app.execute(f"REVOKE UPDATE (fault, fault_since, fault_worker) ON crm_sync.lanes FROM {WORKER}; {mended}")
        await true(lambda: daemon.lanes["brevo"].well)
        assert await app.fetchval(f"SELECT {FAULTY}")
        await app.execute(f"GRANT UPDATE (fault, fault_since, fault_worker) ON crm_sync.lanes TO {WORKER}")
        await until(app, WELL)


@pytest.mark.parametrize("wrong", ["FIRSTNAME = 1", 'FIRSTNAME = "nothing"', 'FIRSTNAME = "count(*)"'])
async def test_after_a_reload_a_wrong_lane_keeps_what_it_had_and_the_others_take_theirs(  # noqa: PLR0917
    app, url, brevo_crm, hubspot_crm, mapping, wrong
):
    first = of_both(url, brevo_crm, hubspot_crm, mapping_file=mapping)
    async with working(first):
        await line_up(app, "brevo", "hubspot")
        await all_complete(app, "brevo")
        mapping.write_text(f"[brevo]\n{wrong}\n[hubspot]\nfirstname = \"'new'\"\n")
        crms = {"brevo": account(brevo_crm), "hubspot": account(hubspot_crm)}
        configuration = configured(crms, database_url=as_worker(url), mapping_file=mapping)
        second = Daemon(configuration, waits=QUICK, former=first)
        with structlog.testing.capture_logs() as logged:
            await second.check()
    [refused] = told(logged, events.CONFIGURATION_REFUSED)
    assert refused["crm"] == "brevo"
    assert "brevo.FIRSTNAME" in refused["reason"]
    async with working(second):
        await app.execute("UPDATE contacts SET brevo_sync_status = 'Queued', hubspot_sync_status = 'Queued'")
        await all_complete(app, "brevo")
        await all_complete(app, "hubspot")
    assert brevo_crm.requests[-1][0].fields == {"FIRSTNAME": "Ada"}
    assert hubspot_crm.requests[-1][0].fields == {"firstname": "new"}


@pytest.mark.parametrize("is_mended", [True, False])
async def test_after_a_reload_a_held_lane_keeps_what_it_had_if_only_the_new_one_is_wrong(  # noqa: PLR0917
    app, url, brevo_crm, hubspot_crm, mapping, is_mended
):
    """Until the fault is mended, nothing shows which one is wrong."""
    broken, mended, _ = BREAKS["a right is missing"]
    first = of_both(url, brevo_crm, hubspot_crm, mapping_file=mapping)
    async with working(first):
        await true(lambda: first.lanes and first.lanes["brevo"].well)
        await app.execute(broken)
        await line_up(app, "brevo")
        await true(lambda: first.lanes["brevo"].fault is not None)
        mapping.write_text('[brevo]\nFIRSTNAME = "nothing"\n')
        if is_mended:
            await app.execute(mended)
        crms = {"brevo": account(brevo_crm), "hubspot": account(hubspot_crm)}
        second = Daemon(configured(crms, database_url=as_worker(url), mapping_file=mapping), waits=QUICK, former=first)
        with structlog.testing.capture_logs() as logged:
            await second.check()
    assert [refused["crm"] for refused in told(logged, events.CONFIGURATION_REFUSED)] == (["brevo"] if is_mended else [])
    if is_mended:
        async with working(second):
            await all_complete(app, "brevo")


async def test_after_a_reload_what_only_a_claim_would_show_ends_no_worker(app, url, brevo_crm, hubspot_crm, mapping):
    """A right that is revoked between the check and the first claim."""
    broken, mended, _ = BREAKS["a right is missing"]
    first = of_both(url, brevo_crm, hubspot_crm, mapping_file=mapping)
    async with working(first):
        await until_asleep(app)
        second = Daemon(
            configured({"brevo": account(brevo_crm), "hubspot": account(hubspot_crm)}, database_url=as_worker(url)),
            waits=QUICK,
            former=first,
        )
        await second.check()
    await app.execute(broken)
    await line_up(app, "brevo", "hubspot")
    async with working(second):
        await until(app, FAULTY)
        await all_complete(app, "hubspot")
        await app.execute(mended)
        await all_complete(app, "brevo")


async def test_a_client_of_others_that_fails_in_any_way_is_its_lanes_alone(app, url, brevo_crm, hubspot_crm):
    def unreadable():
        raise KeyError("TOKEN")

    crms = {"brevo": account(brevo_crm), "hubspot": account(hubspot_crm)}
    configuration = configured(crms, database_url=as_worker(url))
    known = {**configuration.crms, "brevo": Crm("brevo", unreadable)}
    async with working(Daemon(replace(configuration, known=lambda: known), waits=QUICK)):
        await line_up(app, "hubspot")
        await all_complete(app, "hubspot")
        await until(app, FAULTY)
