"""Tombstones in the database: which deletions leave one, which roles may, what it costs, and what may end it."""

import asyncio
import json
import re
from uuid import uuid4

import asyncpg
import pytest

from crm_sync.adoption.adopt import undo
from crm_sync.core.moments import BEGINNING
from crm_sync.errors import ConfigurationError
from crm_sync.postgres import locks
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query, render
from crm_sync.table.schema import read_schema
from tests import roles
from tests.roles import as_worker
from tests.steps import insert, open_worker, orphan

LEFT = "SELECT crm, contact_id, remote_id, email, policy, due_at - deleted_at AS wait FROM crm_sync.tombstones ORDER BY id"
TRIGGER = "SELECT count(*) FROM pg_trigger WHERE tgname = 'crm_sync_brevo_deleted'"
FUNCTION = "SELECT to_regproc('crm_sync.brevo_deleted') IS NOT NULL"


@pytest.fixture
async def deletes(app):
    await set_policy(app, "delete")


async def set_policy(app, policy, crm="brevo"):
    await app.execute("SELECT crm_sync.set_on_delete($1, $2)", crm, policy)


async def known(app, email="ada@example.com", remote_id="7"):
    return await app.fetchval("INSERT INTO contacts (email, brevo_contact_id) VALUES ($1, $2) RETURNING id", email, remote_id)


async def left(app):
    return await app.fetch(LEFT)


# Which deletions leave one.


async def test_it_says_what_the_row_said(app, deletes):
    contact = await known(app)
    await app.execute("DELETE FROM contacts")
    [row] = await left(app)
    assert tuple(row)[:5] == ("brevo", str(contact), "7", "ada@example.com", "delete")
    assert row["wait"].total_seconds() < 1


async def test_a_sequence_that_is_behind_makes_no_deletion_fail(app, deletes):
    """Restores and logical replication copy rows without it."""
    for name in "abc":
        await known(app, f"{name}@example.com", name)
    await app.execute("DELETE FROM contacts")
    await app.execute("SELECT setval('crm_sync.tombstones_id_seq', 1, false)")
    for name in "de":
        await known(app, f"{name}@example.com", name)
    await app.execute("DELETE FROM contacts")
    assert sorted(row["remote_id"] for row in await left(app)) == list("abcde")


async def test_keep_is_the_default_and_costs_no_trigger(app):
    assert await app.fetchval(TRIGGER) == 0
    await known(app)
    await app.execute("DELETE FROM contacts")
    assert await left(app) == []


async def test_a_contact_that_was_never_tried_leaves_none(app, deletes):
    await insert(app, "Queued")
    await insert(app, "New")
    await app.execute("DELETE FROM contacts")
    assert await left(app) == []


@pytest.mark.parametrize(
    "trace", ["brevo_synced_at = now()", "brevo_attempts = 1", "brevo_attempts = 1, brevo_processing_error = 'TIMEOUT: slow'"]
)
async def test_one_without_an_id_that_may_have_a_record_leaves_one(app, deletes, trace):
    contact = await insert(app)
    await app.execute(f"UPDATE contacts SET {trace} WHERE id = $1", contact)
    await app.execute("DELETE FROM contacts")
    assert [row["remote_id"] for row in await left(app)] == [None]


async def test_one_in_flight_is_due_when_no_request_can_be_under_way_any_more(app, deletes):
    await insert(app, "Queued")
    await orphan(app)
    await app.execute("DELETE FROM contacts")
    [row] = await left(app)
    assert row["wait"].total_seconds() == pytest.approx(300, abs=1)


async def test_a_cascade_is_seen(app, deletes):
    await app.execute("CREATE TABLE companies (id int PRIMARY KEY)")
    await app.execute("ALTER TABLE contacts ADD company_id int REFERENCES companies ON DELETE CASCADE")
    await known(app)
    await app.execute("INSERT INTO companies VALUES (1)")
    await app.execute("UPDATE contacts SET company_id = 1")
    await app.execute("DELETE FROM companies")
    assert len(await left(app)) == 1


async def test_a_partition_is_seen(app):
    await app.execute("ALTER TABLE contacts RENAME TO whole")
    await app.execute("CREATE TABLE contacts (LIKE whole INCLUDING DEFAULTS, PRIMARY KEY (id)) PARTITION BY HASH (id)")
    await app.execute("UPDATE crm_sync.adopted SET contacts = 'contacts'")
    for remainder in (0, 1):
        await app.execute(
            f"CREATE TABLE contacts_{remainder} PARTITION OF contacts FOR VALUES WITH (MODULUS 2, REMAINDER {remainder})"
        )
    await set_policy(app, "delete")
    await app.execute("INSERT INTO contacts (email, brevo_contact_id) SELECT 'a', n FROM generate_series(1, 20) AS n")
    await app.execute("DELETE FROM contacts WHERE brevo_contact_id IN ('1', '2', '3')")
    await app.execute("DELETE FROM contacts_0")
    await app.execute("DELETE FROM contacts_1")
    assert sorted(int(row["remote_id"]) for row in await left(app)) == list(range(1, 21))


async def test_each_crm_has_its_own(app, deletes):
    await set_policy(app, "erase", "hubspot")
    await app.execute(
        "INSERT INTO contacts (email, brevo_contact_id, hubspot_contact_id, mautic_contact_id) VALUES ('a', 1, 2, 3)"
    )
    await app.execute("DELETE FROM contacts")
    assert {(row["crm"], row["remote_id"], row["policy"]) for row in await left(app)} == {
        ("brevo", "1", "delete"),
        ("hubspot", "2", "erase"),
    }


async def test_truncate_leaves_none_as_the_readme_says(app, deletes):
    await known(app)
    await app.execute("TRUNCATE contacts")
    assert await left(app) == []


async def test_an_application_without_any_right_on_the_schema_deletes(app, url, deletes):
    await known(app)
    await app.execute("CREATE ROLE tombstones_application")
    try:
        await app.execute("GRANT USAGE ON SCHEMA public TO tombstones_application")
        await app.execute("GRANT SELECT, DELETE ON contacts TO tombstones_application")
        await app.execute("SET ROLE tombstones_application")
        await app.execute("SET search_path = pg_temp, public")
        await app.execute("CREATE TEMPORARY TABLE tombstones (id int)")
        await app.execute("DELETE FROM public.contacts")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await app.fetch("SELECT email FROM crm_sync.tombstones")
        await app.execute("RESET ROLE")
        assert len(await left(app)) == 1
    finally:
        await app.execute("RESET ROLE")
        await app.execute("DROP OWNED BY tombstones_application")
        await app.execute("DROP ROLE tombstones_application")


async def test_nobody_else_puts_the_function_on_a_table_of_his_own(app, deletes):
    assert not await app.fetchval("SELECT has_function_privilege($1, 'crm_sync.brevo_deleted()', 'EXECUTE')", roles.WORKER)


# Setting it.


async def test_keep_takes_the_trigger_off_again_and_what_was_left_stays(app, deletes):
    await known(app)
    await app.execute("DELETE FROM contacts")
    await set_policy(app, "keep")
    assert await app.fetchval(TRIGGER) == 0
    assert not await app.fetchval(FUNCTION)
    assert len(await left(app)) == 1


async def test_setting_it_again_changes_the_policy_of_what_is_deleted_from_then_on(app, deletes):
    await known(app)
    await app.execute("DELETE FROM contacts")
    await set_policy(app, "erase")
    await known(app)
    await app.execute("DELETE FROM contacts")
    assert [row["policy"] for row in await left(app)] == ["delete", "erase"]
    assert await app.fetchval(TRIGGER) == 1


async def test_an_unknown_policy_and_an_unknown_crm_change_nothing(app):
    with pytest.raises(asyncpg.CheckViolationError):
        await set_policy(app, "shred")
    with pytest.raises(asyncpg.NoDataFoundError):
        await set_policy(app, "delete", "pipedrive")
    assert await app.fetchval(TRIGGER) == 0


async def test_without_the_column_of_the_address_it_is_refused_before_any_deletion_fails(app):
    await app.execute("ALTER TABLE contacts RENAME email TO mail")
    with pytest.raises(asyncpg.UndefinedColumnError, match="has no column email"):
        await set_policy(app, "delete")
    await app.execute("DELETE FROM contacts")


@pytest.mark.parametrize(
    ("damage", "advice"),
    [
        ("DROP TRIGGER crm_sync_brevo_deleted ON contacts", "run `crm-sync on-delete brevo delete`"),
        ("ALTER TABLE contacts DISABLE TRIGGER crm_sync_brevo_deleted", "ENABLE TRIGGER crm_sync_brevo_deleted"),
    ],
)
async def test_a_worker_starts_not_where_deletions_would_be_lost(app, url, deletes, damage, advice):
    async with Database(as_worker(url), size=1) as database:
        await read_schema(database)
        await app.execute(damage)
        with pytest.raises(ConfigurationError, match=advice):
            await read_schema(database)


async def test_a_crm_that_is_removed_takes_its_trigger_and_tombstones_along(app, deletes):
    await known(app)
    await app.execute("DELETE FROM contacts")
    await app.execute("SELECT crm_sync.remove_crm('brevo')")
    assert await app.fetchval(TRIGGER) == 0
    assert not await app.fetchval(FUNCTION)
    assert await left(app) == []


async def test_a_rollback_of_all_migrations_works_with_a_trigger_in_place(app, url, deletes):
    await app.execute("INSERT INTO contacts (email) VALUES ('ada@example.com')")  # an empty one would be dropped
    await asyncio.to_thread(undo, url)
    assert await app.fetchval(TRIGGER) == 0
    assert not await app.fetchval("SELECT to_regnamespace('crm_sync') IS NOT NULL")
    await app.execute("DELETE FROM contacts")


# The claim, and the fence.


class Gravedigger:
    """A worker's statements on Brevo's tombstones, without its loop."""

    def __init__(self, database, variables, number):
        self._database = database
        self._claim = render("claim_tombstones", variables)
        self._variables = variables
        self._survivors = render("find_survivors", variables)
        self._token = number << 32

    async def claim(self, limit=100, *, probe=False):
        self._token += 1
        rows = await self._database.fetch(self._claim, limit, self._token, probe)
        return [(row["id"], self._token) for row in rows]

    async def finish(self, stone, kind, error=None, delay_s=0.0, *, receipt=(None, None, None), lines="TRUE", sent=False):
        columns = [[one] for one in (*stone, kind, error, delay_s, *receipt, sent)]
        wanted = {"history": "on", "history_lines": lines, "history_of_all": "TRUE"}
        return bool(await self._database.fetch(render("finish_tombstones", {**self._variables, **wanted}), *columns))

    async def survivors(self, remote_id, email, key=None, *, in_flight=False):
        rows = await self._database.fetch(self._survivors, [1], [remote_id], [email], BEGINNING, [key], in_flight)
        return sorted({row["survivor"] for row in rows})


@pytest.fixture
async def two_workers(url):
    async with open_worker(url, 1) as one, open_worker(url, 2) as other, Database(as_worker(url), size=1) as database:
        variables = (await read_schema(database)).lanes["brevo"].variables
        yield Gravedigger(one.database, variables, 1), Gravedigger(other.database, variables, 2)


@pytest.fixture
async def alive(url, two_workers):
    """A session that shows that worker 1 is alive."""
    session = await asyncpg.connect(url)
    await session.execute("UPDATE crm_sync.workers SET backend_pid = pg_backend_pid(), backend_start = NULL WHERE id = 1")
    await session.execute("SELECT pg_advisory_lock($1, 1)", locks.WORKER)
    yield session
    await session.close()


async def test_two_workers_never_have_the_same(app, two_workers, alive, deletes):
    one, other = two_workers
    await known(app)
    await app.execute("DELETE FROM contacts")
    assert len(await one.claim()) == 1
    assert await other.claim() == []


async def test_what_a_dead_worker_had_is_free_and_it_ends_nothing_any_more(app, two_workers, alive, deletes):
    one, other = two_workers
    await known(app)
    await app.execute("DELETE FROM contacts")
    [stale] = await one.claim()
    await alive.close()
    assert await other.claim() == [], "its request may still be under way"
    await five_minutes_later(app)
    [taken] = await other.claim()
    assert not await one.finish(stale, "delivered")
    assert await other.finish(taken, "delivered")
    assert await left(app) == []


async def test_a_worker_claims_again_what_it_lost_the_answer_of(app, two_workers, alive, deletes):
    one, _ = two_workers
    await known(app)
    await app.execute("DELETE FROM contacts")
    [lost] = await one.claim()
    await five_minutes_later(app)
    [found] = await one.claim()
    assert not await one.finish(lost, "delivered")
    assert await one.finish(found, "delivered")


async def five_minutes_later(app):
    await app.execute("UPDATE crm_sync.tombstones SET due_at = due_at - interval '5 minutes'")


async def test_of_one_that_may_have_reached_the_crm_the_first_attempt_is_kept_and_no_other(app, two_workers, deletes):
    """So that it is known later, and an outage uses up no attempts."""
    one, _ = two_workers
    await known(app)
    await app.execute("DELETE FROM contacts")
    found = []
    for sent in (False, True, True, False, True):
        [stone] = await one.claim()
        assert await one.finish(stone, "deferred", sent=sent)
        found.append(await app.fetchval("SELECT attempts FROM crm_sync.tombstones"))
    assert found == [0, 1, 1, 1, 1]


@pytest.mark.parametrize(("kind", "attempts", "due"), [("retry", 1, True), ("deferred", 0, True), ("rejected", 1, False)])
async def test_one_that_was_not_delivered_stays(app, two_workers, kind, attempts, due):
    one, _ = two_workers
    await set_policy(app, "delete")
    await known(app)
    await app.execute("DELETE FROM contacts")
    [stone] = await one.claim()
    assert await one.finish(stone, kind, "LOCKED: busy", 60.0)
    row = await app.fetchrow("SELECT attempts, error, claimed_by, due_at > now() + interval '50 s' FROM crm_sync.tombstones")
    assert tuple(row) == (attempts, "LOCKED: busy", None, True if due else None)
    assert await one.claim() == [], "it waits, or is given up"


async def test_a_lane_that_is_held_or_down_gives_none_but_the_probe(app, two_workers, deletes):
    one, _ = two_workers
    await known(app)
    await app.execute("DELETE FROM contacts")
    await app.execute("UPDATE crm_sync.lanes SET breaker = 'open' WHERE crm = 'brevo'")
    assert await one.claim() == []
    await app.execute("UPDATE crm_sync.lanes SET held_since = now() WHERE crm = 'brevo'")
    assert await one.claim(probe=True) == []
    await app.execute("UPDATE crm_sync.lanes SET held_since = NULL WHERE crm = 'brevo'")
    assert len(await one.claim(probe=True)) == 1


async def test_survivors_are_known_by_id_and_in_line_by_address_or_key(app, two_workers):
    one, _ = two_workers
    await known(app, "ada@example.com", "7")
    await insert(app, "Queued", " Bob@Example.com")
    await insert(app, "New", "carl@example.com")
    assert await one.survivors("7", None) == ["shared"]
    assert await one.survivors("8", "ADA@example.com") == [], "it has another record"
    assert await one.survivors("8", "bob@example.com") == ["wanted"]
    assert await one.survivors("8", "carl@example.com") == [], "it is not wanted there"
    keys = {row["email"].strip(): str(row["id"]) for row in await app.fetch("SELECT id, email FROM contacts")}
    assert await one.survivors("8", None, keys["Bob@Example.com"]) == ["wanted"]
    assert await one.survivors("8", None, keys["carl@example.com"]) == []
    assert await one.survivors("8", "bob@example.com", in_flight=True) == []
    await app.execute("UPDATE contacts SET brevo_claimed_by = 7 WHERE brevo_sync_status = 'Queued'")
    assert await one.survivors("8", "bob@example.com", in_flight=True) == ["wanted"]


# What it costs.

MANY = (
    "INSERT INTO contacts (email, brevo_contact_id, brevo_sync_status) "
    "SELECT n || '@example.com', CASE WHEN n % 2 = 0 THEN n END, "
    "CASE WHEN n % 5 = 0 THEN 'Queued'::crm_sync_status ELSE 'New' END FROM generate_series(1, 50000) AS n"
)


async def plan(database, statement, *arguments):
    rows = await database.fetch(f"EXPLAIN (FORMAT JSON) {statement}", *arguments)
    return json.dumps(json.loads(rows[0][0])[0]["Plan"])


@pytest.mark.parametrize("analyzed", [False, True])
async def test_no_statement_scans_a_table(app, url, deletes, analyzed):
    await app.execute(MANY)
    await app.execute("DELETE FROM contacts WHERE brevo_contact_id::int <= 40000")
    if analyzed:
        await app.execute("ANALYZE contacts, crm_sync.tombstones, crm_sync.brevo_line")
    async with Database(as_worker(url), size=1) as database:
        variables = (await read_schema(database)).lanes["brevo"].variables
        claim = await plan(database, render("claim_tombstones", variables), 500, 1 << 32, False)
        look = await plan(database, render("find_survivors", variables), [1], ["7"], ["ada@example.com"], BEGINNING, ["1"], False)
        finish = await plan(
            database, render("finish_tombstones", variables), [1], [1], ["delivered"], [None], [0.0], *[[None]] * 3, [False]
        )
        await app.execute("CREATE INDEX ON contacts (lower(email)); CREATE INDEX ON contacts (email)")
        switches = {"by_lower_address": "on", "by_exact_address": "on"}
        flip = await plan(
            database, render("flip_survivors", variables | switches), [1], ["7"], [str(uuid4())], ["ada@example.com"]
        )
        tick = await plan(database, query("find_dead_workers"), 1)
    assert "idx_tombstones_due_at" in claim
    assert "idx_contacts_brevo_contact_id" in look
    assert "brevo_line_due_at" in look
    assert "contacts_pkey" in look
    assert "tombstones_pkey" in finish
    assert "idx_tombstones_due_at" in tick
    assert "contacts_lower_idx" in flip
    assert "contacts_email_idx" in flip
    for one in (claim, look, finish, flip, tick):
        assert not re.search(r'"Seq Scan", [^{}]*"Relation Name": "(contacts|tombstones)"', one)


async def test_a_tick_where_nothing_was_deleted_names_no_crm_and_is_one_statement_as_before(app, deletes):
    look = await app.fetchrow(query("find_dead_workers"), 1)
    assert look["with_deletions"] == []
    await known(app)
    await app.execute("DELETE FROM contacts")
    look = await app.fetchrow(query("find_dead_workers"), 1)
    assert look["with_deletions"] == ["brevo"]


# History.


async def stone(app, two_workers, policy, crm="brevo"):
    """A tombstone of a contact that was delivered before, claimed by the first worker. Returns the contact's key."""
    key = str(uuid4())
    line = "INSERT INTO crm_sync.history (at, key, crm, operation, outcome, code, reason, request_id, remote_id) VALUES "
    await app.execute(line + "(now(), $1, 'n8n', 'upsert', 'rejected', 'REJECTED', 'no', 'r', '7')", key)
    await app.execute(
        "INSERT INTO crm_sync.tombstones (crm, contact_id, remote_id, policy, due_at) VALUES ($1, $2, '7', $3, now())",
        crm,
        key,
        policy,
    )
    [claimed] = await two_workers[0].claim()
    return key, claimed


async def lines(app):
    found = await app.fetch(
        "SELECT crm, key, operation, outcome, reason, request_id, remote_id FROM crm_sync.deliveries ORDER BY at"
    )
    return [tuple(row) for row in found]


async def test_a_deletion_is_a_line(app, two_workers):
    key, claimed = await stone(app, two_workers, "delete")
    assert await two_workers[0].finish(claimed, "delivered", receipt=(12, 204, "req"))
    assert await lines(app) == [
        ("n8n", key, "upsert", "rejected", "no", "r", "7"),
        ("brevo", key, "delete", "delivered", None, "req", "7"),
    ]


async def test_an_erasure_takes_the_name_off_every_line_and_leaves_it_on_none(app, two_workers):
    _, claimed = await stone(app, two_workers, "erase")
    assert await two_workers[0].finish(claimed, "delivered", receipt=(12, 204, "req"))
    assert await lines(app) == [
        ("n8n", None, "upsert", "rejected", None, None, None),
        ("brevo", None, "delete", "delivered", None, None, None),
    ]


async def test_an_erasure_that_fails_forgets_nobody_yet(app, two_workers):
    key, claimed = await stone(app, two_workers, "erase")
    assert await two_workers[0].finish(claimed, "retry", "TIMEOUT: slow", receipt=(12, None, None))
    assert [line[1] for line in await lines(app)] == [key, key]


async def test_an_erasure_forgets_where_no_lines_are_written_too(app, two_workers):
    _, claimed = await stone(app, two_workers, "erase")
    assert await two_workers[0].finish(claimed, "delivered", lines="FALSE")
    assert [line[1] for line in await lines(app)] == [None]
