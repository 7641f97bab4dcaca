"""The most that a flip and a delivery may write: counts from `tests.bench.written`, so that their cost does not grow unnoticed.

A ceiling is the current value plus 5 %. A change that writes less lowers them.
"""

import asyncio
import os
from collections.abc import Iterator

import asyncpg
import pytest

from crm_sync.sandbox.postgres import Postgres, Server
from tests.bench import ours, written
from tests.bench.written import Written

CONTACTS = 400
FURTHER = (0, 7)


@pytest.fixture(scope="module", params=FURTHER, ids=lambda further: f"{further} further indexes")
def counted(request: pytest.FixtureRequest, server: Server, template: str) -> Iterator[tuple[int, Written]]:
    """By the number of further indexes."""
    if not isinstance(server, Postgres):
        pytest.skip("the log of the embedded server is read")
    name = f"crm_sync_written_{os.getpid()}"
    url = server.create_database(name, template)
    try:
        yield request.param, asyncio.run(_measure(server, url, request.param))
    finally:
        server.drop_database(name)


async def _measure(server: Postgres, url: str, further: int) -> Written:
    connection = await asyncpg.connect(url)
    await connection.execute(ours.PEOPLE, CONTACTS)
    await connection.close()
    return await written.measure(server, url, further)


def test_a_flip_writes_no_more_than_it_did_however_many_indexes_there_are(counted):
    _, found = counted
    assert found.new_flip.bytes <= 440
    assert found.flip.bytes <= 460


def test_a_claim_and_a_finish_write_no_more_than_they_did(counted):
    _, found = counted
    assert found.delivery_bytes <= 480


def test_a_line_of_history_writes_no_more_than_it_did_however_many_indexes_there_are(counted):
    _, found = counted
    assert found.history_bytes <= 360


def test_all_updates_are_heap_only_and_add_nothing_to_the_application_s_indexes(counted):
    """A claim takes all contacts of a page at once, so the page has room for all of them twice."""
    _, found = counted
    for step in (found.flip, found.claim, found.finish):
        assert (step.heap_only, step.entries) == (1.0, 0)


def test_an_update_that_names_no_column_of_ours_pays_nothing(counted):
    _, found = counted
    assert found.edit_calls == 0
    assert found.edit.heap_only == 1.0
    assert found.edit.entries == 0
