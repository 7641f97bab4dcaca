"""What a lane has finished updates the counts, and gives its pace."""

from datetime import UTC, datetime, timedelta

import pytest

from crm_sync.core.moves import Moves
from crm_sync.core.outcome import Finish, Kind

COUNTED = datetime(2026, 11, 24, 12, tzinfo=UTC)
BEFORE, SINCE = COUNTED - timedelta(seconds=1), COUNTED + timedelta(seconds=1)


def finish(kind: Kind, flipped_at: datetime | None = BEFORE, attempts: int = 1, *, known: bool = False) -> Finish:
    return Finish("a", 1, kind, attempts=attempts, flipped_at=flipped_at, known=known)


@pytest.fixture
def tally() -> Moves:
    counting = Moves(lambda: None)
    counting.told({}, COUNTED)
    return counting


@pytest.mark.parametrize(
    ("one", "again", "moves"),
    [
        (finish(Kind.DELIVERED), False, {"ready": -1, "complete": 1}),
        (finish(Kind.DELIVERED), True, {}),
        (finish(Kind.REJECTED), False, {"ready": -1, "error": 1}),
        (finish(Kind.RETRY), True, {"ready": -1, "waiting": 1}),
        (finish(Kind.DELIVERED, attempts=2), False, {"waiting": -1, "complete": 1}),
        (finish(Kind.RETRY, attempts=2), True, {}),
        (finish(Kind.DELIVERED, SINCE, known=True), False, {}),
        (finish(Kind.DELIVERED, SINCE), False, {"new": -1, "complete": 1}),
        (finish(Kind.REJECTED, SINCE, known=True), False, {"complete": -1, "error": 1}),
        (finish(Kind.DEFERRED), True, {}),
        (finish(Kind.ORPHANED), True, {}),
        (finish(Kind.REJECTED, None), False, {}),
    ],
)
def test_a_finish_moves_a_contact_from_where_it_was_counted(tally, one, again, moves):
    tally.add([one], {"a"} if again else set(), 0.0)
    assert tally.untold() == moves


def test_what_was_told_is_not_told_again(tally):
    tally.add([finish(Kind.DELIVERED)], set(), 0.0)
    tally.told({"complete": 1}, COUNTED)
    assert tally.untold() == {"ready": -1}, "that number was locked"
    tally.add([finish(Kind.DELIVERED)], set(), 0.0)
    assert tally.untold() == {"ready": -2, "complete": 1}


def test_without_a_snapshot_nothing_is_moved():
    tally = Moves(lambda: None)
    tally.add([finish(Kind.DELIVERED)], set(), 0.0)
    assert tally.untold() == {}
    assert sum(tally.deliveries(0.0)) == 1


def test_deliveries_are_told_by_the_second_the_newest_first(tally):
    for now in (100.2, 100.9, 101.0, 103.5):
        tally.add([finish(Kind.DELIVERED), finish(Kind.RETRY)], set(), now)
    assert tally.deliveries(103.9)[:5] == [1, 0, 1, 2, 0]
    assert tally.delivered_at == 103.5
    assert sum(tally.deliveries(162.9)) == 1
    assert sum(tally.deliveries(500.0)) == 0
    assert len(tally.deliveries(500.0)) == 60


def test_it_forgets_what_is_over(tally):
    for second in range(10_000):
        tally.add([finish(Kind.DELIVERED)], set(), float(second))
    assert len(tally._delivered) < 200
    assert tally.deliveries(9999.0) == [1] * 60


def test_what_fails_is_no_delivery(tally):
    tally.add([finish(Kind.RETRY), finish(Kind.REJECTED)], set(), 100.0)
    assert tally.delivered_at is None
    assert sum(tally.deliveries(100.0)) == 0


def test_a_later_count_does_not_move_again_what_was_moved(tally):
    tally.add([finish(Kind.DELIVERED)], set(), 5.0)
    tally.told(tally.untold(), COUNTED, 1.0)
    assert tally.untold() == {}


def test_reports_before_the_first_count_lose_nothing():
    tally = Moves(lambda: None)
    tally.add([finish(Kind.DELIVERED, SINCE)], set(), 6.0)
    tally.told({}, None)
    tally.told({}, COUNTED, 5.0)
    assert tally.untold() == {"new": -1, "complete": 1}


def test_a_count_that_moves_nothing_is_not_worth_telling():
    changes = []
    tally = Moves(lambda: changes.append(None))
    tally.add([finish(Kind.DELIVERED)], set(), 4.0)
    changes.clear()
    tally.told({}, COUNTED, 5.0)
    assert changes == []


def test_each_finish_is_worth_telling():
    told = []
    tally = Moves(lambda: told.append(1))
    tally.add([finish(Kind.REJECTED)], set(), 0.0)
    assert told == [1]


def test_what_was_finished_before_the_lane_knew_of_the_count_moves_numbers_if_it_was_after_it():
    changes: list[None] = []
    tally = Moves(lambda: changes.append(None))
    tally.add([finish(Kind.DELIVERED)], set(), 4.0)
    tally.add([finish(Kind.DELIVERED), finish(Kind.DELIVERED, SINCE), finish(Kind.DEFERRED, SINCE)], set(), 6.0)
    tally.add([finish(Kind.RETRY, SINCE)], {"a"}, 7.0)
    assert tally.untold() == {}
    changes.clear()
    tally.told({}, COUNTED, 5.0)
    assert tally.untold() == {"ready": -1, "new": -2, "complete": 2, "waiting": 1}, "the first was counted as Complete"
    assert len(changes) == 1, "so that it is reported"
    tally.told(tally.untold(), COUNTED, 5.0)
    assert tally.untold() == {}
    assert len(changes) == 1
