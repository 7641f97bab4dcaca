"""Which contacts live on after deletions, as a lane asks for them; tests/table/test_tombstones.py has the statements."""

import re
from collections import defaultdict
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from crm_sync import events
from crm_sync.core.moments import BEGINNING
from crm_sync.core.outcome import Deletion
from crm_sync.lane.survivors import SHARED, WANTED, Survivors
from crm_sync.postgres.statements import name_of, read

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
LATER = datetime(2026, 11, 30, 13, tzinfo=UTC)


STATEMENTS = ("find_survivors", "flip_survivors", "keep_flip_times")
COLUMNS = {name: name for text in STATEMENTS for name in re.findall(r":'?([a-z_]+)", read(text))}


class Database:
    """rows: by the name of the statement. asked: (name, arguments) of those that were sent, in order."""

    def __init__(self, **rows):
        self.rows = rows
        self.asked = []
        self.statements = defaultdict(str)

    async def fetch(self, statement, *arguments):
        name = name_of(statement)
        self.statements[name] = statement
        self.asked.append((name, arguments))
        return self.rows.get(name, [])

    async def fetch_together(self, statement, *arguments, then):
        rows = await self.fetch(statement, *arguments)
        if second := then(rows):
            await self.fetch(second[0], *second[1])
        return rows


def survivors(database, *, keeps_records=True):
    table = SimpleNamespace(crm="brevo", variables=COLUMNS | {"email_name": "email"})
    return Survivors(table, database, keeps_records=keeps_records)


def deletion(key, email="ada@example.com", remote_id="7"):
    return Deletion(key, remote_id, email, False, NOON)


# Before a deletion.


async def test_before_a_deletion_its_record_is_looked_for_once_and_its_address_in_each_spelling():
    database = Database(find_survivors=[{"id": 1, "survivor": SHARED}, {"id": 2, "survivor": WANTED}])
    found = await survivors(database).find({1: deletion("a", "Ada@xn--mller-kva.example"), 2: deletion("b", None, "8")}, LATER)
    assert found == {(1, SHARED), (2, WANTED)}
    [(name, (tombstones, records, addresses, since, keys, in_flight))] = database.asked
    assert name == "find_survivors"
    asked = list(zip(tombstones, records, addresses, keys, strict=True))
    assert asked == [
        (1, "7", "Ada@xn--mller-kva.example", "a"),
        (1, None, "ada@xn--mller-kva.example", "a"),
        (1, None, "ada@müller.example", "a"),
        (2, "8", "", "b"),
    ]
    assert (since, in_flight) == (LATER, False)


async def test_without_records_nothing_has_to_be_kept():
    database = Database(find_survivors=[{"id": 1, "survivor": WANTED}])
    assert await survivors(database, keeps_records=False).find({1: deletion("a")}, NOON) == set()
    assert database.asked == []


# After it.


async def test_after_no_deletion_nothing_is_asked():
    database = Database()
    assert await survivors(database).send_again({}) == set()
    assert database.asked == []


async def test_after_deletions_those_that_live_on_are_flipped_and_told_once_each():
    rows = [(1, True, "x", "2026"), (1, True, "y", "2025"), (2, True, "x", "2026"), (2, False, "z", None)]
    database = Database(
        flip_survivors=[dict(zip(("tombstone", "is_flipped", "id", "flipped_at"), row, strict=True)) for row in rows],
    )
    with capture_logs() as log:
        assert await survivors(database).send_again({1: deletion("a"), 2: deletion("b"), 3: deletion("c")}) == {2}
    assert [(entry["event"], entry["contact"]) for entry in log] == [(events.SURVIVOR_FLIPPED, "a")]
    assert dict(database.asked)["keep_flip_times"] == (["x", "y"], ["2026", "2025"])


async def test_what_is_in_flight_is_looked_for_first_and_its_deletion_is_not_over():
    database = Database(find_survivors=[{"id": 1, "survivor": WANTED}, {"id": 2, "survivor": SHARED}])
    assert await survivors(database).send_again({1: deletion("a"), 2: deletion("b")}) == {1}
    names = [name for name, _ in database.asked]
    assert names.index("find_survivors") < names.index("flip_survivors")
    *_, since, _keys, in_flight = dict(database.asked)["find_survivors"]
    assert (since, in_flight) == (BEGINNING, True)


async def test_by_its_record_or_where_none_is_known_by_its_key_and_address():
    database = Database()
    await survivors(database).send_again({1: deletion("a"), 2: deletion("b", remote_id=None)})
    assert dict(database.asked)["flip_survivors"] == ([1, 2], ["7", None], [None, "b"], [None, "ada@example.com"])


async def test_without_records_by_key_and_address():
    database = Database()
    await survivors(database, keeps_records=False).send_again({1: deletion("a")})
    assert dict(database.asked)["flip_survivors"] == ([1], [None], ["a"], ["ada@example.com"])


@pytest.mark.parametrize(
    ("kinds", "lower", "exact"),
    [
        ([], False, False),
        (["as it is"], False, True),
        (["in any case"], False, True),
        (["in small letters"], True, False),
        (["as it is", "in small letters"], True, False),
    ],
)
async def test_by_address_only_as_an_index_finds_it(kinds, lower, exact):
    database = Database(list_address_indexes=[{"kind": kind} for kind in kinds])
    await survivors(database).send_again({1: deletion("a")})
    statement = database.statements["flip_survivors"]
    assert ("lower(btrim(t.address" in statement, "::text::email_type" in statement) == (lower, exact)
    assert dict(database.asked)["list_address_indexes"] == ("email",)
