"""Interrupted connections of the pool."""

import pytest

from crm_sync.errors import DatabaseTroubleError, UnreadableError
from crm_sync.postgres.pool import Database
from crm_sync.postgres.translation import translate
from tests.roles import as_worker


async def on_a_terminated_connection(database, patience_s):
    async with database.connection() as connection:
        driver = connection._con
        driver.terminate()
        await driver._execute("SELECT 1", (), 0, patience_s)


@pytest.mark.parametrize("patience_s", [None, 5.0])
async def test_a_statement_on_a_connection_that_was_broken_off_is_trouble_with_the_database(app, url, patience_s):
    """At any moment: asyncpg then uses various attributes of the protocol that it has dropped."""
    async with Database(as_worker(url), size=1) as database:
        with pytest.raises(DatabaseTroubleError, match="closed between two messages") as raised:
            await on_a_terminated_connection(database, patience_s)
        assert isinstance(raised.value.__cause__, AttributeError)


def test_what_our_own_code_asks_of_none_is_a_fault_of_ours():
    with pytest.raises(AttributeError) as raised:
        None.query  # noqa: B018 (it is asked)
    assert translate(raised.value) is raised.value


@pytest.mark.parametrize("value", ["'0044-03-15 BC'::date", "'0044-03-15 BC'::timestamptz", "'3000000 years'::interval"])
async def test_a_value_that_the_driver_has_no_object_for_is_told_as_that(url, value):
    async with Database(as_worker(url), size=1) as database:
        with pytest.raises(UnreadableError, match="a date before the year 1"):
            await database.fetch(f"SELECT {value}")
        assert await database.value("SELECT 1") == 1


def test_a_value_that_our_own_code_cannot_read_is_a_fault_of_ours():
    with pytest.raises(ValueError, match="invalid literal") as raised:
        int("x")
    assert translate(raised.value) is raised.value
