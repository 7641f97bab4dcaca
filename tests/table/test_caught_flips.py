"""Flips made by the application's own triggers: no UPDATE names the status, and they are seen at once."""

import asyncio
import json
import re
from contextlib import asynccontextmanager

import asyncpg
import pytest
import structlog

from crm_sync import events
from crm_sync.adoption import adopt as adoption
from crm_sync.adoption.table import AdoptionRequest
from crm_sync.core.waits import Waits
from crm_sync.daemon.daemon import Daemon
from crm_sync.postgres.listen_check import CHANNEL
from tests.adoption.steps import adopt_only, undo
from tests.commands.test_check import checked
from tests.harness import ALL_COMPLETE, TIMEOUT_S, ScriptedCrm, account, configured, driven, running, until, until_asleep
from tests.process import environment
from tests.roles import for_all
from tests.steps import insert, pair, read

NO_TICK = Waits(tick_s=3600.0)
CATCH = "SELECT count(*) FROM pg_trigger WHERE tgname = 'crm_sync_catch' AND tgparentid = 0"
DEFINITION = "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgname = 'crm_sync_catch'"

ON_CHANGE = """
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.first_name IS DISTINCT FROM OLD.first_name THEN
        NEW.brevo_sync_status := 'Queued';
    END IF;
    RETURN NEW;
END;
$$;
CREATE TRIGGER {name} BEFORE INSERT OR UPDATE ON contacts FOR EACH ROW EXECUTE FUNCTION touch();
"""
BY_ANOTHER_FUNCTION = """
CREATE FUNCTION queue_it(c contacts) RETURNS contacts LANGUAGE plpgsql AS $$
BEGIN
    c.brevo_sync_status := 'Queued';
    RETURN c;
END;
$$;
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.first_name IS DISTINCT FROM OLD.first_name THEN
        NEW := Queue_It(NEW);
    END IF;
    RETURN NEW;
END;
$$;
CREATE TRIGGER touch BEFORE UPDATE ON contacts FOR EACH ROW EXECUTE FUNCTION touch();
"""
WITHDRAWS = """
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.first_name = 'gone' THEN
        NEW.brevo_sync_status := 'Skipped';
    END IF;
    RETURN NEW;
END;
$$;
CREATE TRIGGER touch BEFORE UPDATE ON contacts FOR EACH ROW EXECUTE FUNCTION touch();
"""
UPDATED_AT = """
ALTER TABLE contacts ADD IF NOT EXISTS updated_at timestamptz;
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.updated_at := now(); RETURN NEW; END $$;
CREATE TRIGGER touch BEFORE UPDATE ON contacts FOR EACH ROW EXECUTE FUNCTION touch();
"""
FIRST, LAST = "aa_touch", "zz_touch"


@asynccontextmanager
async def as_owner(url, crm):
    """A worker that owns the table."""
    async with driven(Daemon(configured({"brevo": account(crm)}, database_url=url), waits=NO_TICK)):
        yield


async def rename(app, contact, name="Grace"):
    await app.execute("UPDATE contacts SET first_name = $2 WHERE id = $1", contact, name)


async def in_line(app, contact):
    row = await read(app, contact)
    states = row["sync_status"], row["processing_status"], row["claimed_by"]
    has_line = await app.fetchval(
        "SELECT EXISTS (SELECT FROM crm_sync.brevo_line WHERE key = $1 AND due_at = $2)", contact, row["due_at"]
    )
    return states == ("Queued", "Queued", None) and has_line


@pytest.mark.parametrize("name", [FIRST, LAST])
async def test_a_flip_of_a_trigger_lines_a_contact_up(app, url, name):
    contact = await insert(app)
    await app.execute(ON_CHANGE.format(name=name))
    await adopt_only(url)
    await rename(app, contact)
    assert await in_line(app, contact)


@pytest.mark.parametrize("name", [FIRST, LAST])
async def test_so_does_one_on_insert(app, url, name):
    await app.execute(ON_CHANGE.format(name=name))
    await adopt_only(url)
    assert await in_line(app, await insert(app))


async def test_one_whose_trigger_calls_another_function_too(app, url):
    contact = await insert(app)
    await app.execute(BY_ANOTHER_FUNCTION)
    await adopt_only(url)
    await rename(app, contact)
    assert await in_line(app, contact)


async def test_one_of_a_partition_too(owner, empty_url):
    await owner.execute(
        "CREATE TABLE contacts (id int PRIMARY KEY, first_name text, email text) PARTITION BY RANGE (id);"
        "CREATE TABLE one PARTITION OF contacts FOR VALUES FROM (1) TO (10)"
    )
    await adopt_only(empty_url)
    await owner.execute(ON_CHANGE.format(name=LAST).replace("ON contacts", "ON one"))
    await adopt_only(empty_url)
    assert await in_line(owner, await owner.fetchval("INSERT INTO contacts VALUES (1, 'Ada', 'a@example.com') RETURNING id"))


async def test_it_is_delivered_at_once(app, url):
    await app.execute(ON_CHANGE.format(name=LAST))
    await adopt_only(url)
    crm = ScriptedCrm()
    async with running(url, crm, waits=NO_TICK):
        await until_asleep(app)
        contact = await insert(app)
        await until(app, ALL_COMPLETE)
        await until_asleep(app)
        await rename(app, contact)
        await crm.reached(2)
        await until(app, ALL_COMPLETE)
    assert crm.store[contact]["FIRSTNAME"] == "Grace"


async def test_in_flight_it_goes_out_once_more_as_another_flip(app, url, worker):
    contact = await insert(app, "Queued")
    await app.execute(ON_CHANGE.format(name=LAST))
    await adopt_only(url)
    (claimed,) = await worker.claim()
    await rename(app, contact)
    assert await pair(app, contact) == ("Queued", "Processing")
    row = await read(app, contact)
    assert row["flipped_at"] > claimed.flipped_at
    assert row["claimed_by"] == claimed.token


async def test_one_that_waits_for_a_retry_keeps_its_place_and_is_another_flip(app, url, worker):
    """Otherwise n8n would take the new values for those of the previous try, which may have arrived."""
    contact = await insert(app, "Queued")
    await app.execute(ON_CHANGE.format(name=LAST))
    await adopt_only(url)
    await worker.claim()
    await app.execute(
        "UPDATE contacts SET brevo_sync_status = 'Queued', brevo_processing_status = 'Queued', brevo_claimed_by = NULL, "
        "brevo_processing_error = 'TIMEOUT: slow', brevo_due_at = brevo_due_at + interval '1 h'"
    )
    before = await read(app, contact)
    await rename(app, contact)
    after = await read(app, contact)
    assert after["flipped_at"] > before["flipped_at"]
    assert after == before | {"flipped_at": after["flipped_at"]}


async def test_one_that_a_trigger_withdraws_is_not_sent(app, url, worker):
    contact = await insert(app, "Queued")
    await app.execute(WITHDRAWS)
    await adopt_only(url)
    await rename(app, contact, "gone")
    assert (await read(app, contact))["sync_status"] == "Skipped"
    assert await worker.claim() == []


async def test_it_looks_after_the_crms_that_such_triggers_name_and_all_where_a_name_is_put_together(app, url):
    await app.execute(ON_CHANGE.format(name=LAST))
    await adopt_only(url)
    assert set(re.findall(r"new\.([a-z0-9]+)_sync_status", await app.fetchval(DEFINITION))) == {"brevo"}
    await app.execute(
        "CREATE FUNCTION composed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "RETURN jsonb_populate_record(NEW, jsonb_build_object(TG_ARGV[0] || '_sync_status', 'Queued')); END $$;"
        "CREATE TRIGGER composed BEFORE UPDATE ON contacts FOR EACH ROW WHEN (NEW.n8n_due_at IS NULL) "
        "EXECUTE FUNCTION composed('n8n')"
    )
    await adopt_only(url)
    assert set(re.findall(r"new\.([a-z0-9]+)_sync_status", await app.fetchval(DEFINITION))) == {
        "hubspot",
        "brevo",
        "mautic",
        "n8n",
    }
    contact = await insert(app)
    await rename(app, contact)
    assert await app.fetchval("SELECT n8n_due_at IS NOT NULL FROM contacts")


async def test_who_updates_needs_no_right_to_write_a_status(app, url):
    contact = await insert(app)
    await app.execute(ON_CHANGE.format(name=LAST))
    await adopt_only(url)
    await app.execute(
        "CREATE ROLE clerk; GRANT SELECT, UPDATE (first_name) ON contacts TO clerk; GRANT USAGE ON SCHEMA public TO clerk"
    )
    try:
        await app.execute("SET ROLE clerk")
        await rename(app, contact)
    finally:
        await app.execute("RESET ROLE; DROP OWNED BY clerk; DROP ROLE clerk")
    assert await in_line(app, contact)


async def test_what_cannot_be_seen_costs_the_application_nothing(app, url):
    contact = await insert(app)
    await app.execute(ON_CHANGE.format(name=LAST))
    await adopt_only(url)
    await app.execute("ALTER TABLE contacts RENAME id TO uid")
    await app.execute("UPDATE contacts SET first_name = 'Grace' WHERE uid = $1", contact)
    assert await app.fetchval("SELECT brevo_sync_status FROM contacts") == "Queued"


TABLES = (
    "SELECT relname, n_tup_ins + n_tup_upd + n_tup_del AS written FROM pg_stat_xact_all_tables "
    "WHERE n_tup_ins + n_tup_upd + n_tup_del > 0 OR (schemaname = 'crm_sync' AND seq_scan + coalesce(idx_scan, 0) > 0)"
)


async def costs_of(url, statement):
    """(the triggers that fired, the tables that were written, and those of crm-sync that were read)"""
    connection = await asyncpg.connect(url)  # of which nothing else is counted
    try:
        async with connection.transaction():
            ((plan,),) = await connection.fetch(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}")
            tables = {row["relname"]: row["written"] for row in await connection.fetch(TABLES)}
    finally:
        await connection.close()
    return [trigger["Trigger Name"] for trigger in json.loads(plan)[0]["Triggers"] if trigger["Calls"]], tables


@pytest.fixture
async def rung(other_app, app):
    """Whether anything was notified until now. It listens as a worker does."""
    heard = []
    await other_app.add_listener(CHANNEL, lambda _connection, _pid, _channel, payload: heard.append(payload))

    async def ask():
        await app.execute(f"NOTIFY {CHANNEL}, 'the last'")
        async with asyncio.timeout(TIMEOUT_S):
            while "the last" not in heard:
                await other_app.execute("SELECT 1")
        return heard[:-1]

    return ask


OTHER_COLUMNS = "UPDATE contacts SET first_name = 'Grace', email = 'grace@example.com'"


@pytest.mark.parametrize("state", ["New", "Queued"])
async def test_where_no_trigger_flips_an_update_of_other_columns_costs_nothing(app, url, rung, state):
    await insert(app, state)
    await app.execute("VACUUM contacts")
    assert await app.fetchval(CATCH) == 0
    assert await costs_of(url, OTHER_COLUMNS) == ([], {"contacts": 1})
    assert await rung() == []


@pytest.mark.parametrize(("state", "fired"), [("New", [LAST]), ("Queued", ["crm_sync_catch", LAST])])
async def test_where_one_does_an_update_that_it_leaves_alone_writes_and_rings_nothing(app, url, rung, state, fired):
    """Of a contact in line, it has to look whether this was a flip."""
    await insert(app, state)
    await app.execute(ON_CHANGE.format(name=LAST))
    await adopt_only(url)
    assert await app.fetchval(CATCH) == 1
    assert await costs_of(url, "UPDATE contacts SET email = 'grace@example.com'") == (fired, {"contacts": 1})
    assert await rung() == []


async def test_triggers_that_never_agree_come_to_an_end(app, url):
    contact = await insert(app)
    await app.execute(
        "CREATE FUNCTION toggle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "NEW.brevo_sync_status := CASE OLD.brevo_sync_status WHEN 'Queued' THEN 'Skipped' ELSE 'Queued' END; RETURN NEW; END $$;"
        "CREATE TRIGGER zz BEFORE UPDATE ON contacts FOR EACH ROW EXECUTE FUNCTION toggle()"
    )
    await adopt_only(url)
    await rename(app, contact)
    assert await app.fetchval("SELECT first_name FROM contacts") == "Grace"


async def test_it_is_there_only_where_such_triggers_are(app, url):
    await app.execute(UPDATED_AT)
    assert await adopt_only(url) == []
    await app.execute("DROP TRIGGER touch ON contacts; DROP FUNCTION touch")
    await app.execute(ON_CHANGE.format(name=LAST))
    assert len(await adopt_only(url)) == 1
    assert await adopt_only(url) == []
    await app.execute("DROP TRIGGER zz_touch ON contacts")
    assert len(await adopt_only(url)) == 2
    assert await app.fetchval(CATCH) == 0
    await app.execute("CREATE TRIGGER zz_touch AFTER UPDATE ON contacts FOR EACH ROW EXECUTE FUNCTION touch()")
    assert await adopt_only(url) == [], "one that runs afterwards has to say it in an UPDATE"


async def test_it_goes_and_comes_with_crms_and_leaves_with_the_last(owner, empty_url, photograph):
    await owner.execute("CREATE TABLE contacts (id int PRIMARY KEY, email text, first_name text)")
    await owner.execute(ON_CHANGE.format(name=LAST).replace("NEW.brevo_sync_status := 'Queued'", "NULL /* x_sync_status */"))
    before = photograph()
    await adopt_only(empty_url, crms=("brevo", "n8n"))
    await adopt_only(empty_url, crms=("hubspot",))
    assert "hubspot_sync_status" in await owner.fetchval(DEFINITION)
    await owner.execute("SELECT crm_sync.remove_crm('n8n')")
    assert "n8n_sync_status" not in await owner.fetchval(DEFINITION)
    assert "brevo_sync_status" in await owner.fetchval(DEFINITION)
    await owner.execute("ALTER TABLE contacts RENAME id TO uid")
    await adopt_only(empty_url)
    await owner.execute("INSERT INTO contacts (uid, email) VALUES (1, 'a@example.com')")
    await undo(empty_url)
    await owner.execute("ALTER TABLE contacts RENAME uid TO id")
    assert photograph() == before


async def test_a_column_of_another_type_is_followed(owner, empty_url):
    """The functions name the types of the status columns: with an old one every flip would fail."""
    await owner.execute("CREATE TABLE contacts (id int PRIMARY KEY, email text, first_name text)")
    await owner.execute(ON_CHANGE.format(name=LAST))
    await owner.execute("ALTER TABLE contacts DISABLE TRIGGER zz_touch; ALTER TABLE contacts ADD brevo_sync_status text")
    await adopt_only(empty_url, crms=("brevo",))
    triggers = await owner.fetch("SELECT tgname FROM pg_trigger WHERE tgname LIKE 'crm\\_sync\\_%'")
    await owner.execute(f"DROP TRIGGER {' ON contacts; DROP TRIGGER '.join(row['tgname'] for row in triggers)} ON contacts")
    await owner.execute("CREATE TYPE own AS ENUM ('New', 'Queued', 'Processing', 'Complete', 'Error')")
    await owner.execute(
        "ALTER TABLE contacts ALTER brevo_sync_status TYPE own USING brevo_sync_status::own, ENABLE TRIGGER zz_touch"
    )
    await adopt_only(empty_url)
    await owner.execute("INSERT INTO contacts (id, email, first_name) VALUES (1, 'a@example.com', 'Ada')")
    assert await in_line(owner, 1)


# If it does not exist yet.


async def test_check_tells_of_such_triggers_until_it_is_there(app, url, brevo):
    await app.execute(ON_CHANGE.format(name=LAST))
    _, lines = await checked(environment(url, brevo))
    told = [line for line in lines if line.startswith("warning contacts table")]
    assert len(told) == 1, lines
    assert "zz_touch" in told[0]
    assert told[0].endswith("run `crm-sync migrate`")
    await adopt_only(url)
    _, lines = await checked(environment(url, brevo))
    assert not [line for line in lines if line.startswith("warning")]


async def test_adopt_says_what_it_costs(app, url):
    await app.execute(ON_CHANGE.format(name=LAST))
    plan = await asyncio.to_thread(adoption.plan, url, for_all(AdoptionRequest()))
    assert any("zz_touch" in note and "crm_sync_catch" in note for note in plan.notes), plan.notes


async def test_the_full_look_of_a_worker_that_may_installs_it(app, url):
    """Its role owns the table."""
    crm = ScriptedCrm()
    await app.execute(ON_CHANGE.format(name=LAST))
    await insert(app)
    with structlog.testing.capture_logs() as logged:
        async with as_owner(url, crm):
            await until(app, ALL_COMPLETE)
            await until(app, f"({CATCH}) = 1")
            contact = await insert(app, email="b@example.com")
            assert await in_line(app, contact) or (await pair(app, contact))[1] is not None
    (told,) = [entry for entry in logged if entry["event"] == events.FLIPS_UNSEEN]
    assert told["triggers"] == ["zz_touch"]


async def test_one_that_may_not_says_the_command(app, url, monkeypatch):
    monkeypatch.setenv("BREVO_SYNC_SCHEDULER_INTERVAL_MINUTES", "0.001")
    crm = ScriptedCrm()
    await app.execute(ON_CHANGE.format(name=LAST))
    await insert(app)
    with structlog.testing.capture_logs() as logged:
        async with running(url, crm, waits=NO_TICK):
            await until(app, ALL_COMPLETE)
            await insert(app, email="b@example.com")
            await until(app, ALL_COMPLETE)
    (told,) = [entry for entry in logged if entry["event"] == events.FLIPS_UNSEEN]
    assert "crm-sync migrate" in told["note"]
    assert await app.fetchval(CATCH) == 0


async def test_strays_of_a_table_without_such_triggers_install_nothing(app, url):
    crm = ScriptedCrm()
    await app.execute(UPDATED_AT)
    async with app.transaction():
        await app.execute("SET LOCAL session_replication_role = replica")
        await insert(app, "Queued")
    with structlog.testing.capture_logs() as logged:
        async with as_owner(url, crm):
            await until(app, ALL_COMPLETE)
    assert not [entry for entry in logged if entry["event"] == events.FLIPS_UNSEEN]
    assert await app.fetchval(CATCH) == 0
