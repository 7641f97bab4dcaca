"""That notifications do not arrive is a fault of the settings, for which a worker ends. That they take long is none."""

from dataclasses import replace

import pytest

from crm_sync.core.waits import USUAL
from crm_sync.errors import ConfigurationError, DatabaseTroubleError
from crm_sync.postgres.ear import Ear
from crm_sync.postgres.listen_check import check_listening
from crm_sync.postgres.pool import Database
from tests.roles import as_worker

AT_ONCE = replace(USUAL, listen_timeout_s=0.0)
LISTENERS = "FROM pg_stat_activity WHERE query LIKE 'LISTEN %' AND datname = current_database()"


class CutOff(Database):
    """What listens is ended before the notification is sent."""

    async def fetch(self, statement, *arguments):
        assert await super().fetch(f"SELECT pg_terminate_backend(pid, 5000) {LISTENERS}") == [(True,)]
        return await super().fetch(statement, *arguments)


async def open_ear(url, database):
    ear = Ear(url, database, on_word=print, on_deaf=lambda: None, waits=AT_ONCE)
    try:
        await ear.open()
        assert ear.hears
    finally:
        ear.close()


async def check(url, database):
    await check_listening(url, database, AT_ONCE.listen_timeout_s)


@pytest.fixture(params=[check, open_ear])
def listen(request):
    return request.param


async def test_one_that_takes_longer_than_expected_is_waited_for(url, listen):
    async with Database(as_worker(url), size=1) as database:
        await listen(as_worker(url), database)


async def test_a_connection_that_is_lost_meanwhile_says_nothing_about_the_settings(url, listen):
    async with CutOff(url, size=1) as database:
        with pytest.raises(DatabaseTroubleError):
            await listen(url, database)


async def test_one_that_never_arrives_is_a_fault_of_the_settings(url, empty_url, listen):
    async with Database(empty_url, size=1) as database:
        with pytest.raises(ConfigurationError, match="did not arrive"):
            await listen(as_worker(url), database)
