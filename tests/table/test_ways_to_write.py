"""An application flips in every way that SQL allows: savepoints, exception blocks, upserts, MERGE, COPY, views."""

import io

import pytest

from crm_sync.core.outcome import Kind
from crm_sync.core.waits import Waits
from tests.harness import ALL_COMPLETE, ScriptedCrm, running, until, until_asleep
from tests.steps import COLUMNS, insert, pair, read

NO_TICK = Waits(tick_s=3600.0)
FLIP = "UPDATE contacts SET brevo_sync_status = 'Queued'"
BLOCKS = (
    f"DO $$ BEGIN FOR n IN 1..100 LOOP BEGIN {FLIP}; RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN NULL; END; "
    f"END LOOP; {FLIP}; END $$"
)

TRANSACTIONS = {
    "after a savepoint that was rolled back": ["SAVEPOINT a", FLIP, "ROLLBACK TO a", FLIP],
    "in a savepoint that was released": ["SAVEPOINT a", FLIP, "RELEASE a"],
    "before a savepoint that was rolled back": [FLIP, "SAVEPOINT a", FLIP, "ROLLBACK TO a"],
    "in one within another": ["SAVEPOINT a", "SAVEPOINT b", FLIP, "ROLLBACK TO b", FLIP, "RELEASE a"],
    "taken back and made again": [FLIP, "UPDATE contacts SET brevo_sync_status = 'Skipped'", FLIP],
    "in a hundred exception blocks": [BLOCKS],
}


@pytest.mark.parametrize("statements", TRANSACTIONS.values(), ids=TRANSACTIONS)
async def test_a_flip_is_delivered_when_its_transaction_commits_without_a_tick(app, url, statements):
    crm = ScriptedCrm()
    await insert(app)
    async with running(url, crm, waits=NO_TICK):
        for number in (1, 2):
            await until_asleep(app)
            async with app.transaction():
                for statement in statements:
                    await app.execute(statement)
                assert len(crm.requests) == number - 1, "nothing uncommitted is sent"
            await crm.reached(number)
            await until(app, ALL_COMPLETE)


async def test_an_upsert_keeps_the_id_that_is_known_and_flips(app, worker):
    contact = await insert(app, "Queued")
    await app.execute("UPDATE contacts SET brevo_contact_id = '7' WHERE id = $1", contact)
    (claimed,) = await worker.claim()
    of_brevo = "brevo_processing_status, brevo_claimed_by, brevo_due_at, brevo_attempts, brevo_flipped_at"
    columns = f"email, first_name, brevo_sync_status, {of_brevo}"
    names = columns.split(", ")
    await app.execute(
        f"INSERT INTO contacts (id, {columns}) VALUES ($1, 'ada@example.com', 'Grace', 'Queued', NULL, NULL, NULL, 0, NULL) "
        f"ON CONFLICT (id) DO UPDATE SET {', '.join(f'{name} = EXCLUDED.{name}' for name in names)}",
        contact,
    )
    row = await read(app, contact)
    assert (row["sync_status"], row["processing_status"]) == ("Queued", "Processing")
    assert (row["claimed_by"], row["contact_id"]) == (claimed.token, "7")


OURS = [f"brevo_{name}" for name in COLUMNS]
ENDS_THE_CLAIM = ["brevo_claimed_by", "brevo_due_at"]


def upsert(status, columns):
    """As an ORM writes it: the row as it would be inserted, over the one that is there."""
    names, values = (", brevo_sync_status", f", '{status}'") if status else ("", "")
    changes = ", ".join(f"{name} = EXCLUDED.{name}" for name in ["first_name", *columns])
    return (
        f"INSERT INTO contacts (id, email, first_name{names}) VALUES ($1, 'ada@example.com', 'Grace'{values}) "
        f"ON CONFLICT (id) DO UPDATE SET {changes}"
    )


@pytest.mark.parametrize("status", ["Queued", "New", "Skipped", "Complete", None])
@pytest.mark.parametrize(
    "columns", [OURS, OURS[:4], OURS[:5], [*OURS[:6], "brevo_flipped_at"], ["brevo_sync_status"], ["brevo_claimed_by"], []]
)
async def test_an_upsert_of_a_row_in_flight_never_ends_its_claim(app, worker, columns, status):
    """Whether it writes all columns of crm-sync, the older ones, or none."""
    contact = await insert(app, "Queued")
    (claimed,) = await worker.claim()
    await app.execute(upsert(status, columns), contact)
    row = await read(app, contact)
    assert (row["processing_status"], row["claimed_by"]) == ("Processing", claimed.token)
    # The column's default is New; as with any save of a row that is old, only a word of the application's own counts.
    assert row["sync_status"] in (status, "New", "Processing")
    assert await app.fetchval("SELECT first_name FROM contacts") == "Grace"
    assert await worker.finish(claimed, Kind.DELIVERED, remote_id="7")


async def in_flight(app, crm):
    crm.gate.clear()
    contact = await insert(app, "Queued")
    await crm.reached(1)
    return contact


@pytest.mark.parametrize("columns", [ENDS_THE_CLAIM, [*ENDS_THE_CLAIM, "brevo_processing_status", "brevo_attempts"]])
async def test_one_that_does_since_it_leaves_out_flipped_at_is_sent_once_more(app, url, columns):
    """No trigger can tell it from a finish."""
    crm = ScriptedCrm()
    async with running(url, crm, waits=NO_TICK):
        contact = await in_flight(app, crm)
        await app.execute(upsert(None, columns), contact)
        assert (await read(app, contact))["claimed_by"] is None
        crm.gate.set()
        await until(app, ALL_COMPLETE)
    assert crm.store[contact]["FIRSTNAME"] == "Grace"


async def test_and_a_flip_that_such_a_one_makes_is_found_by_the_full_look(app, url, monkeypatch):
    monkeypatch.setenv("BREVO_SYNC_SCHEDULER_INTERVAL_MINUTES", "0.001")
    crm = ScriptedCrm()
    async with running(url, crm, waits=NO_TICK):
        contact = await in_flight(app, crm)
        await app.execute(upsert("Queued", ["brevo_sync_status", *ENDS_THE_CLAIM]), contact)
        crm.gate.set()
        await until(app, ALL_COMPLETE)
    assert crm.store[contact]["FIRSTNAME"] == "Grace"


async def test_merge_flips(app):
    there = await insert(app)
    await app.execute(
        "MERGE INTO contacts AS c USING (VALUES ('ada@example.com'), ('new@example.com')) AS s (email) ON c.email = s.email "
        "WHEN MATCHED THEN UPDATE SET brevo_sync_status = 'Queued' "
        "WHEN NOT MATCHED THEN INSERT (email, brevo_sync_status) VALUES (s.email, 'Queued')"
    )
    assert await pair(app, there) == ("Queued", "Queued")
    assert await app.fetchval("SELECT count(*) FROM crm_sync.brevo_line") == 2


async def test_copy_flips(app):
    rows = io.BytesIO(b"a@example.com\tQueued\nb@example.com\tNew\n")
    await app.copy_to_table("contacts", source=rows, columns=["email", "brevo_sync_status"])
    assert await app.fetchval("SELECT count(*) FROM crm_sync.brevo_line") == 1


VIEWS = {
    "that updates by itself": "CREATE VIEW people AS SELECT * FROM contacts WHERE email LIKE '%@example.com' WITH CHECK OPTION",
    "with a trigger instead": (
        "CREATE VIEW people AS SELECT id, brevo_sync_status FROM contacts LIMIT 10;"
        "CREATE FUNCTION through() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "UPDATE contacts SET brevo_sync_status = NEW.brevo_sync_status WHERE id = OLD.id; RETURN NEW; END $$;"
        "CREATE TRIGGER through INSTEAD OF UPDATE ON people FOR EACH ROW EXECUTE FUNCTION through()"
    ),
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
async def test_a_view_flips(app, view):
    contact = await insert(app)
    await app.execute(view)
    await app.execute("UPDATE people SET brevo_sync_status = 'Queued'")
    assert await pair(app, contact) == ("Queued", "Queued")
    assert await app.fetchval("SELECT count(*) FROM crm_sync.brevo_line") == 1
