"""Rows that an ORM saves as a whole, on a watched table: values read before the flip withdraw nothing."""

import pytest

from crm_sync.core.outcome import Kind
from tests.steps import first_names, pair, read, write


async def load(app):
    return dict(await app.fetchrow("SELECT * FROM contacts"))


async def save(app, row, **changes):
    """UPDATE of every column, with values read earlier."""
    row.update(changes)
    columns = [name for name in row if name != "id"]
    assignments = ", ".join(f"{name} = ${number}" for number, name in enumerate(columns, 2))
    await app.execute(f"UPDATE contacts SET {assignments} WHERE id = $1", row["id"], *(row[name] for name in columns))


async def load_status_only(app):
    """For a model that only maps the basic columns of crm-sync: status, error and id."""
    return dict(
        await app.fetchrow(
            "SELECT id, email, first_name, last_name, brevo_sync_status, brevo_processing_status, brevo_processing_error, "
            "brevo_contact_id FROM contacts"
        )
    )


MODELS = pytest.mark.parametrize("load", [load, load_status_only])


@MODELS
async def test_a_saved_row_flips_when_it_has_changed(app, worker, complete, load):
    row = await load(app)
    await save(app, row)
    assert await pair(app, complete) == ("Complete", "Complete")
    await save(app, row, last_name="Byron")
    assert await pair(app, complete) == ("Complete", "Complete")
    await save(app, row, first_name="Eve")
    assert await first_names(worker) == ["Eve"]


@MODELS
@pytest.mark.parametrize("change", [{"first_name": "Bob"}, {"last_name": "Byron"}, {}])
async def test_a_row_saved_twice_does_not_withdraw_what_the_first_save_has_flipped(app, worker, complete, load, change):
    """The object in the application's memory still says Complete."""
    row = await load(app)
    await save(app, row, first_name="Eve")
    in_line = await read(app, complete)
    await save(app, row, **change)
    after = await read(app, complete)
    assert (after["sync_status"], after["processing_status"], after["due_at"]) == ("Queued", "Queued", in_line["due_at"])
    assert await first_names(worker) == [change.get("first_name", "Eve")]


@MODELS
async def test_a_row_saved_again_while_a_retry_waits_keeps_the_wait(app, worker, complete, load):
    row = await load(app)
    await save(app, row, first_name="Eve")
    (claimed,) = await worker.claim()
    await worker.finish(claimed, Kind.RETRY, error="TIMEOUT: slow", delay_s=3600)
    before = await read(app, complete)
    await save(app, row, first_name="Bob")
    after = await read(app, complete)
    assert {**after, "flipped_at": None} == {**before, "flipped_at": None}
    assert await app.fetchval("SELECT next_retry_at = brevo_due_at FROM contacts")


@MODELS
@pytest.mark.parametrize("change", [{"first_name": "Bob"}, {"last_name": "Byron"}])
async def test_a_row_saved_again_in_flight_is_not_withdrawn(app, worker, complete, load, change):
    """It is sent once more if it has changed, or if the saved row does not show how old it is."""
    row = await load(app)
    await save(app, row, first_name="Eve")
    (claimed,) = await worker.claim()
    in_flight = await read(app, complete)
    await save(app, row, **change)
    after = await read(app, complete)
    assert {**after, "sync_status": None, "flipped_at": None} == {**in_flight, "sync_status": None, "flipped_at": None}
    again = "first_name" in change or load is load_status_only
    assert after["sync_status"] == ("Queued" if again else "Processing")
    await worker.finish(claimed, Kind.RETRY, error="TIMEOUT: slow")
    assert await first_names(worker) == [change.get("first_name", "Eve")]


@MODELS
async def test_a_row_read_in_flight_and_saved_after_it_is_sent_again(app, worker, complete, load):
    await write(app, complete, sync_status="Queued")
    (claimed,) = await worker.claim()
    row = await load(app)
    await worker.finish(claimed, Kind.DELIVERED)
    await save(app, row, first_name="Eve")
    assert await pair(app, complete) == ("Queued", "Queued")
    assert await first_names(worker) == ["Eve"]
