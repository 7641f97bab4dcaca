"""A finish takes row locks as strong as what it writes, and the application is never the victim of a deadlock."""

import asyncio

import pytest

from crm_sync.core.outcome import Finish, Kind
from tests.harness import TIMEOUT_S
from tests.steps import counted_statements, insert, open_worker, read

ORDERS = "CREATE TABLE orders (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, contact_id uuid REFERENCES contacts)"
UNIQUE = "ALTER TABLE contacts ADD UNIQUE (brevo_contact_id)"
COUNTERS = """
CREATE TABLE counters (name text PRIMARY KEY, value integer);
INSERT INTO counters VALUES ('contacts', 0);
CREATE FUNCTION count_them() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    UPDATE counters SET value = value + 1;
    RETURN NULL;
END;
$$;
CREATE TRIGGER count_them AFTER UPDATE OF brevo_contact_id ON contacts
FOR EACH ROW WHEN (NEW.email = '4@example.com' AND OLD.brevo_claimed_by IS NOT NULL AND NEW.brevo_claimed_by IS NULL)
EXECUTE FUNCTION count_them();
"""


@pytest.fixture
async def four(app):
    await app.execute(ORDERS)
    return [await insert(app, "Queued", f"{n}@example.com") for n in range(1, 5)]


def delivered(contacts):
    return [Finish(one.id, one.token, Kind.DELIVERED, remote_id=one.email) for one in contacts]


async def claim(worker):
    return sorted(await worker.claim(), key=lambda one: one.email)


async def test_an_open_insert_that_points_at_a_contact_holds_up_that_finish_only(app, other_app, url, four):
    await app.execute(UNIQUE)
    async with open_worker(url, 1) as worker:
        contacts = await claim(worker)
        async with app.transaction():
            await app.execute("INSERT INTO orders (contact_id) VALUES ($1)", four[3])
            with counted_statements() as statements:
                async with asyncio.timeout(TIMEOUT_S):
                    finished = await worker.contacts.finish(delivered(contacts))
            assert [finish.id for finish in finished.written] == four[:3]
            # With a weaker lock, it would wait for the application, give up, and try the contacts apart.
            assert statements == ["finish_contacts"]
            await other_app.execute("UPDATE contacts SET first_name = 'x' WHERE id = $1", four[0])
        finished = await worker.contacts.finish(delivered(contacts[3:]))
        assert [finish.id for finish in finished.written] == four[3:]


async def test_without_such_an_index_it_holds_up_none(app, url, four):
    async with open_worker(url, 1) as worker:
        contacts = await claim(worker)
        async with app.transaction():
            await app.execute("INSERT INTO orders (contact_id) VALUES ($1)", four[3])
            assert len((await worker.contacts.finish(delivered(contacts))).written) == 4


@pytest.mark.parametrize(
    "index", ["(brevo_contact_id) WHERE id IS NOT NULL", "(lower(brevo_contact_id))", "(id) INCLUDE (brevo_contact_id)"]
)
async def test_nor_where_the_column_is_in_no_key(app, url, four, index):
    await app.execute(f"CREATE UNIQUE INDEX ours ON contacts {index}")
    async with open_worker(url, 1) as worker:
        contacts = await claim(worker)
        async with app.transaction():
            await app.execute("INSERT INTO orders (contact_id) VALUES ($1)", four[3])
            assert len((await worker.contacts.finish(delivered(contacts))).written) == 4


@pytest.mark.parametrize("what", ["an index that is new", "a trigger that locks another row"])
async def test_what_it_waits_for_all_the_same_it_gives_up_before_the_application_is_a_victim(app, other_app, url, four, what):
    """The application waits for the finish, which waits for the application."""
    if what != "an index that is new":
        await app.execute(COUNTERS)
    async with open_worker(url, 1) as worker:
        contacts = await claim(worker)
        if what == "an index that is new":
            await app.execute(UNIQUE)
        async with app.transaction():
            if what == "an index that is new":
                await app.execute("INSERT INTO orders (contact_id) VALUES ($1)", four[3])
            else:
                await app.execute("UPDATE counters SET value = value + 1")
            finishing = asyncio.create_task(worker.contacts.finish(delivered(contacts)))
            async with asyncio.timeout(TIMEOUT_S):
                while not await other_app.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            await app.execute("UPDATE contacts SET first_name = 'x' WHERE id = $1", four[0])
            finished = await asyncio.wait_for(finishing, TIMEOUT_S)
            assert four[3] not in [finish.id for finish in finished.written]
        left = [one for one in contacts if (await read(app, one.id))["claimed_by"] is not None]
        finished = await worker.contacts.finish(delivered(left))
        assert len(finished.written) == len(left)
    assert await app.fetchval("SELECT bool_and(brevo_sync_status = 'Complete') FROM contacts")
