"""Columns with our names that the table already has are kept, with their types and values."""

import asyncio
import json

import pytest

from crm_sync.core.outcome import Outcome
from crm_sync.errors import ConfigurationError
from tests.adoption.steps import adopt, adopt_only, complete, delivering, undo, until
from tests.process import ended, environment, process
from tests.tiers import one_quick, slow

STATES = "'New', 'Queued', 'Processing', 'Complete', 'Error', 'Skipped', 'Archived', 'On Hold'"
FIELD = f"""
    CREATE TYPE hubspot_status AS ENUM ({STATES});
    CREATE TABLE people (
        id int PRIMARY KEY,
        email text,
        first_name text,
        brevo_sync_status hubspot_status,
        brevo_processing_error varchar(50),
        brevo_contact_id bigint
    );
    INSERT INTO people SELECT n, n || '@example.com' FROM generate_series(1, 5) AS n
"""
KINDS = {
    "an enum": "hubspot_status",
    "text": "text",
    "a varchar(20)": "varchar(20)",
    "a char(12)": "char(12)",
}


@pytest.mark.parametrize("kind", one_quick(KINDS.values()), ids=KINDS)
async def test_a_status_of_another_type_is_flipped_delivered_and_kept(owner, empty_url, photograph, kind):
    await owner.execute(FIELD)
    await owner.execute(f"ALTER TABLE people ALTER brevo_sync_status TYPE {kind} USING brevo_sync_status::text::{kind}")
    before = photograph()
    await adopt(empty_url, "people")
    async with delivering(empty_url) as crm:
        crm.answer = lambda contact: Outcome.delivered(str(contact.id * 100))
        await owner.execute("UPDATE people SET brevo_sync_status = 'Queued'")
        await until(owner, "people", complete())
    assert await owner.fetchval("SELECT array_agg(brevo_contact_id ORDER BY id) FROM people") == [100, 200, 300, 400, 500]
    await undo(empty_url)
    assert photograph() == before
    assert await owner.fetchval("SELECT count(*) FROM people WHERE brevo_sync_status = 'Complete'") == 5


async def test_a_reason_that_is_too_long_for_the_column_is_cut_and_not_refused(owner, empty_url):
    await owner.execute(FIELD)
    await adopt(empty_url, "people")
    reason = "the CRM has much to say about this contact, and says it at length"
    async with delivering(empty_url) as crm:
        crm.answer = lambda _: Outcome.rejected("REJECTED", reason)
        await owner.execute("UPDATE people SET brevo_sync_status = 'Queued'")
        await until(owner, "people", "bool_and(brevo_sync_status = 'Error')")
    assert {row[0] for row in await owner.fetch("SELECT brevo_processing_error FROM people")} == {f"REJECTED: {reason}"[:50]}


async def test_so_is_that_of_a_contact_which_a_trigger_flips_again_and_again(owner, empty_url):
    await owner.execute(FIELD)
    await adopt(empty_url, "people")
    await owner.execute(
        "CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS $$ "
        "BEGIN UPDATE people SET brevo_sync_status = 'Queued' WHERE id = NEW.id; RETURN NULL; END $$; "
        "CREATE TRIGGER again AFTER UPDATE ON people FOR EACH ROW WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION again()"
    )
    reason = "TRIGGER_LOOP: the trigger again flips this contact when"[:50]
    async with delivering(empty_url) as crm:
        crm.answer = lambda contact: Outcome.delivered(str(contact.id * 100))
        await owner.execute("UPDATE people SET brevo_sync_status = 'Queued' WHERE id = 1")
        # Each claim clears it.
        await until(owner, "people", f"bool_or(brevo_processing_error = '{reason}')")


async def test_rows_that_were_queued_already_are_lined_up_when_the_worker_starts(owner, empty_url):
    await owner.execute(FIELD)
    await owner.execute("UPDATE people SET brevo_sync_status = 'Queued' WHERE id > 3")
    await adopt(empty_url, "people")
    async with delivering(empty_url) as crm:
        await until(owner, "people", "count(*) FILTER (WHERE brevo_sync_status = 'Complete') = 2")
    assert sorted(crm.store) == [4, 5]


@slow
async def test_states_of_the_tables_own_are_left_alone_and_counted_as_nothing(owner, empty_url):
    """NULL is one of them. A full look at the table runs, and touches none of their rows."""
    await owner.execute(FIELD)
    await owner.execute("UPDATE people SET brevo_sync_status = 'Archived', brevo_processing_error = 'mine' WHERE id = 1")
    await owner.execute("UPDATE people SET brevo_processing_error = 'mine' WHERE id = 2")
    await owner.execute("UPDATE people SET brevo_sync_status = 'Queued' WHERE id > 3")
    await adopt(empty_url, "people")
    theirs = "SELECT p.ctid, p.* FROM people AS p WHERE id < 4 ORDER BY id"
    before = await owner.fetch(theirs)
    async with delivering(empty_url):
        await until(owner, "people", "count(*) FILTER (WHERE brevo_sync_status = 'Complete') = 2")
    assert await owner.fetch(theirs) == before

    async with process(environment(empty_url), "status", "--json", "--exact") as status:
        code, out, err = await ended(status)
    assert code == 0, err
    (brevo,) = [lane for lane in json.loads(out)["lanes"] if lane["crm"] == "brevo"]
    counted = {state: brevo[state] for state in ("new", "selected", "skipped", "ready", "waiting", "complete", "error")}
    assert {state: count for state, count in counted.items() if count} == {"complete": 2}
    assert brevo["done_share"] == 1.0


UNFIT = {
    "a status that lacks a state": (
        "CREATE TYPE s AS ENUM ('New', 'Queued'); ALTER TABLE t ADD brevo_sync_status s",
        "brevo_sync_status of public.t, of the type public.s, lacks a value of Queued, Processing, Complete and Error",
    ),
    "a status that is a number": ("ALTER TABLE t ADD brevo_sync_status int", "holds neither text nor an enum"),
    "a status too short for Processing": ("ALTER TABLE t ADD brevo_sync_status varchar(8)", "is too short for Processing"),
    "a status with a constraint that lacks states": (
        "ALTER TABLE t ADD brevo_sync_status text, ADD CONSTRAINT k CHECK (brevo_sync_status IN ('New', 'Queued', 'Complete'))",
        "the constraint k of public.t refuses Processing, Error in brevo_sync_status, which workers write: ALTER TABLE public.t",
    ),
    "a due time without its zone": ("ALTER TABLE t ADD brevo_due_at timestamp", "is no timestamptz"),
    "attempts in text": ("ALTER TABLE t ADD brevo_attempts text", "is no integer"),
    "an id in json": ("ALTER TABLE t ADD brevo_contact_id jsonb", "holds neither text nor a number"),
    "a reason that is required": ("ALTER TABLE t ADD brevo_processing_error text NOT NULL DEFAULT ''", "DROP NOT NULL"),
    "a claim that is computed": (
        "ALTER TABLE t ADD brevo_claimed_by bigint GENERATED ALWAYS AS (id) STORED",
        "is computed by Postgres",
    ),
    "a retry count of another kind": ("ALTER TABLE t ADD retry_count text", "is no integer"),
}


@pytest.mark.parametrize(("setup", "said"), UNFIT.values(), ids=UNFIT)
async def test_a_column_that_cannot_serve_is_named_and_nothing_is_changed(owner, empty_url, photograph, setup, said):
    await owner.execute("CREATE TABLE t (id int PRIMARY KEY, email text)")
    await owner.execute(setup)
    before = photograph()
    with pytest.raises(ConfigurationError) as refusal:
        await adopt_only(empty_url, "t")
    assert said in str(refusal.value)
    assert "RENAME COLUMN" in str(refusal.value) or "ALTER" in str(refusal.value)
    # The schema crm_sync exists, but no table is recorded as adopted.
    await undo(empty_url)
    assert photograph() == before


async def test_a_database_enum_gets_no_value_of_ours(owner, empty_url):
    await owner.execute(FIELD)
    labels = "SELECT array_agg(enumlabel ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = 'hubspot_status'::regtype"
    before = await owner.fetchval(labels)
    await asyncio.gather(adopt_only(empty_url, "people"))
    assert await owner.fetchval(labels) == before


async def test_an_index_that_does_the_same_already_is_used_and_kept(owner, empty_url, photograph):
    await owner.execute(FIELD)
    await owner.execute("CREATE INDEX mine ON people (brevo_contact_id) WHERE brevo_contact_id IS NOT NULL")
    await owner.execute("CREATE INDEX other ON people (brevo_processing_error) WHERE brevo_processing_error IS NOT NULL")
    before = photograph()
    done = await adopt_only(empty_url, "people")
    built = [statement.split(" ON ")[0].split()[-1] for statement in done if statement.startswith("CREATE INDEX")]
    assert "idx_people_brevo_contact_id" not in built
    assert "idx_people_brevo_processing_error" in built, "the other one is no index by the code"
    assert len(built) == 8
    await undo(empty_url)
    assert photograph() == before


async def test_a_constraint_that_takes_our_states_beside_its_own_is_no_matter(owner, empty_url):
    await owner.execute(
        "CREATE TABLE people (id int PRIMARY KEY, email text CHECK (email LIKE '%@%'), brevo_sync_status varchar(20) CHECK "
        "(brevo_sync_status IN ('New', 'Queued', 'Processing', 'Complete', 'Error', 'Archived')))"
    )
    await adopt(empty_url, "people")
    async with delivering(empty_url):
        await owner.execute("INSERT INTO people (id, email, brevo_sync_status) VALUES (1, 'ada@example.com', 'Queued')")
        await until(owner, "people", complete())
