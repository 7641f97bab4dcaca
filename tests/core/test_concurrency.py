"""A simulated server (some requests at a time, the others queue) and a client that keeps as many in flight as allowed."""

import heapq
import random
from collections import deque
from dataclasses import dataclass, field
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_sync.core.concurrency import PROBE, PROBE_EVERY_S, ROUND, START, AdaptiveConcurrency

SERVICE_S = 0.2
OUTLIERS = 0.01  # of the answers take ten times as long
SETTLED_S = 60.0  # by then a limit has been found


@dataclass(slots=True)
class Client:
    concurrency: AdaptiveConcurrency
    wants: int = 10_000  # requests in flight at most, whatever the limit
    in_flight: int = 0


@dataclass(slots=True)
class Server:
    """Works on `capacity` requests at a time, each for service_s give or take 30 %; the others wait, first come, first served."""

    capacity: int
    service_s: float = SERVICE_S
    sizes: tuple[int, ...] = (1,)  # contacts in a request; each takes a fiftieth of service_s more
    seed: int = 1
    now: float = 0.0
    busy: int = 0
    worked_s: float = 0.0
    sent: int = 0
    waiting: deque[tuple[int, float, Client]] = field(default_factory=deque)
    working: list[tuple[float, int, float, int, float, Client]] = field(default_factory=list)
    answers: list[tuple[float, float, int]] = field(default_factory=list)  # when, seconds it took, the limit outside probes
    chance: random.Random = field(init=False)

    def __post_init__(self):
        self.chance = random.Random(self.seed)

    def serve(self, until, *clients):
        while True:
            self._send(clients)
            if self.working[0][0] > until:
                self.now = until
                return self
            self.now, _, work_s, size, sent_at, client = heapq.heappop(self.working)
            self.busy -= 1
            self.worked_s += work_s
            client.concurrency.answered(size, self.now - sent_at, client.in_flight, self.now)
            client.in_flight -= 1
            self.answers.append((self.now, self.now - sent_at, client.concurrency.sustained))

    def _send(self, clients):
        for client in clients:
            while client.in_flight < min(client.concurrency.limit, client.wants):
                client.in_flight += 1
                self.waiting.append((self.chance.choice(self.sizes), self.now, client))
        while self.waiting and self.busy < self.capacity:
            size, sent_at, client = self.waiting.popleft()
            work_s = self.service_s * (1 + (size - 1) / 50) * self.chance.uniform(0.7, 1.3)
            work_s *= 10 if self.chance.random() < OUTLIERS else 1
            self.busy, self.sent = self.busy + 1, self.sent + 1
            heapq.heappush(self.working, (self.now + work_s, self.sent, work_s, size, sent_at, client))

    def took_s(self, since):
        return median(took_s for at, took_s, _ in self.answers if at >= since)

    def limits(self, since):
        """The limit that 5 % of the answers came under or below, and that 95 % did."""
        limits = sorted(limit for at, _, limit in self.answers if at >= since)
        return limits[len(limits) // 20], limits[-len(limits) // 20]


def client(most=64):
    return Client(AdaptiveConcurrency(most))


def settled(capacity, seed=1, **server):
    """A server and its client after the first minute."""
    one = client()
    return Server(capacity, seed=seed, **server).serve(SETTLED_S, one), one


def answer(concurrency, took_s, now, rounds=1, contacts=1):
    """Rounds of answers that all took equally long, with the limit used. Returns when the last one came."""
    for _ in range(rounds):
        for _ in range(PROBE if concurrency.limit == 1 else max(ROUND, concurrency.limit)):
            now += took_s
            concurrency.answered(contacts, took_s, concurrency.limit, now)
    return now


def measured(most=64, sustained=16, alone_s=0.125):
    """A limit that has measured how long answers take alone, and when it did."""
    concurrency = AdaptiveConcurrency(most, sustained=sustained)
    concurrency.answered(1, alone_s, 1, 0.5)
    now = answer(concurrency, alone_s, 0.5)
    assert (concurrency.limit, concurrency.alone_s) == (sustained, {1: alone_s})
    return concurrency, now


def test_it_starts_with_two_at_a_time_and_measures_the_time_alone_before_it_grows():
    concurrency = AdaptiveConcurrency(16)
    assert concurrency.limit == START
    concurrency.answered(1, 0.2, 2, 0.2)
    assert concurrency.limit == 1
    now = answer(concurrency, 0.25, 0.25)
    assert concurrency.limit == START
    answer(concurrency, 0.25, now)
    assert concurrency.limit == START + 1


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("capacity", [2, 4, 8, 16, 32])
def test_it_finds_what_a_server_can_hold_and_keeps_it_busy_with_a_short_queue(capacity, seed):
    one = client()
    server = Server(capacity, seed=seed).serve(SETTLED_S, one)
    worked_before_s = server.worked_s
    server.serve(SETTLED_S + 300, one)
    low, high = server.limits(SETTLED_S)
    reached = next(number for number, (_, _, limit) in enumerate(server.answers) if limit >= capacity)
    busy = (server.worked_s - worked_before_s) / (300 * capacity)
    took = server.took_s(SETTLED_S) / SERVICE_S
    print(f"of {capacity}: limit {low} to {high} after {reached} answers, busy {busy:.1%}, answers take {took:.2f} times as long")
    assert capacity <= low <= high <= capacity * 1.5 + 3
    assert took <= 2.2
    assert busy >= 0.9
    assert reached <= 20 * capacity + 40


@pytest.mark.parametrize("seed", range(5))
def test_a_server_that_does_one_thing_at_a_time_never_gets_more_than_three(seed):
    server, one = settled(1, seed)
    server.serve(1200, one)
    assert max(limit for _, _, limit in server.answers) <= 3


def test_over_hours_the_queue_it_makes_does_not_become_the_normal():
    server, one = settled(4)
    server.serve(4 * 3600, one)
    first, last = (server.limits(since) for since in (SETTLED_S, 3.5 * 3600))
    assert abs(first[1] - last[1]) <= 1
    assert server.took_s(3.5 * 3600) <= 2 * SERVICE_S


def test_four_workers_at_one_server_do_not_drive_each_other_up():
    """Each takes the others' requests for the server's own time unless they probe together."""
    server, workers = Server(8), [client() for _ in range(4)]
    for number, until in enumerate((7, 20, 33, 1800), 1):
        server.serve(until, *workers[:number])
    assert sum(worker.concurrency.sustained for worker in workers) <= 24
    assert server.took_s(900) <= 3 * SERVICE_S


def test_batches_of_all_sizes_are_judged_by_their_own_kind():
    server, one = settled(8, sizes=(1, 2, 10, 50, 200))
    worked_before_s = server.worked_s
    server.serve(600, one)
    low, high = server.limits(SETTLED_S)
    assert low >= 7
    assert high <= 14
    assert (server.worked_s - worked_before_s) / (540 * 8) >= 0.9


def test_a_change_to_large_batches_is_not_taken_for_a_slower_server():
    server, one = settled(8)
    server.sizes = (200,)
    server.serve(SETTLED_S * 2, one)
    low, high = server.limits(SETTLED_S)
    assert 8 <= low <= high <= 14


def test_a_server_that_holds_fewer_is_backed_off_from_and_one_that_recovers_is_used_again():
    server, one = settled(16, seed=3)
    server.serve(65, one)
    server.capacity = 4
    server.serve(75, one)
    assert one.concurrency.sustained <= 8
    server.serve(140, one)
    assert server.took_s(110) <= 2.2 * SERVICE_S
    server.capacity = 16
    server.serve(200, one)
    assert one.concurrency.sustained >= 16


def test_a_server_four_times_slower_is_backed_off_from_until_that_is_known_to_be_its_time():
    server, one = settled(8)
    server.serve(65, one)
    server.service_s *= 4
    server.serve(90, one)
    assert one.concurrency.sustained <= 5
    server.serve(400, one)
    low, high = server.limits(250)
    assert 8 <= low <= high <= 14


def test_a_server_four_times_quicker_is_measured_again_at_once():
    server, one = settled(8, service_s=4 * SERVICE_S)
    server.serve(250, one)
    server.service_s = SERVICE_S
    server.serve(350, one)
    assert server.limits(260)[1] <= 14


def test_a_few_slow_answers_change_nothing():
    concurrency, now = measured(most=16)
    for number in range(ROUND):
        took_s = 1.25 if number in {2, 5, 9} else 0.125
        now += took_s
        concurrency.answered(1, took_s, 16, now)
    assert concurrency.limit == 16


def test_answers_a_little_quicker_lower_the_time_alone_a_little():
    concurrency, now = measured()
    answer(concurrency, 0.8 * 0.125, now)
    assert concurrency.alone_s[1] == pytest.approx(0.96 * 0.125)


def test_batches_never_seen_alone_are_measured_before_they_are_judged():
    concurrency, now = measured()
    now = answer(concurrency, 1.0, now, contacts=200)
    assert concurrency.limit == 16
    concurrency.answered(200, 1.0, 16, now)
    assert concurrency.limit == 1
    answer(concurrency, 0.5, now, contacts=200)
    assert concurrency.limit == 16
    assert concurrency.alone_s == {1: 0.125, (200).bit_length(): 0.5}


def test_slow_answers_shrink_it_to_what_the_server_works_on_and_by_half_at_most():
    concurrency, now = measured()
    now = answer(concurrency, 0.25, now)
    assert concurrency.limit == 8 + 3, "8 at work, 3 may wait"
    answer(concurrency, 2.0, now)
    assert concurrency.limit == 5


@pytest.mark.parametrize(("queue", "limit"), [(2, 16 + 3), (5, 16), (8, 16 - 8 + 3)])
def test_a_short_queue_lets_it_grow_a_longer_one_leaves_it_and_a_long_one_shrinks_it(queue, limit):
    concurrency, now = measured()
    answer(concurrency, 0.125 * 16 / (16 - queue), now)
    assert concurrency.limit == limit


def test_how_many_were_in_flight_before_it_shrank_is_no_reason_to_grow():
    concurrency, now = measured()
    now = answer(concurrency, 0.25, now)
    shrunk = concurrency.limit
    for _ in range(3 * ROUND):
        now += 0.125
        concurrency.answered(1, 0.125, 3, now)
    assert concurrency.limit == shrunk < 16


def test_answers_from_before_a_failure_are_not_judged_with_those_after_it():
    concurrency, now = measured()
    for _ in range(ROUND - 1):
        now += 0.125
        concurrency.answered(1, 0.125, 16, now)
    concurrency.failed(0.125, now)
    for _ in range(ROUND - 1):
        now += 0.125
        concurrency.answered(1, 0.125, 8, now)
    assert concurrency.limit == 8
    concurrency.answered(1, 0.125, 8, now + 0.125)
    assert concurrency.limit == 10


def test_quick_answers_beside_some_of_a_size_that_was_never_measured_alone_lower_the_time_of_their_own_only():
    concurrency, now = measured()
    for number in range(ROUND):
        now += 0.1
        concurrency.answered(200 if number % 4 == 0 else 1, 0.1, 16, now)
    assert concurrency.alone_s == {1: pytest.approx(0.96 * 0.125)}


def test_a_limit_that_is_not_used_does_not_grow():
    one = Client(AdaptiveConcurrency(64), wants=3)
    server = Server(16).serve(300, one)
    assert one.concurrency.sustained <= 4
    one.wants = 64
    server.serve(400, one)
    assert one.concurrency.sustained >= 16


def test_answers_to_requests_sent_under_an_earlier_limit_are_not_judged():
    concurrency, now = measured()
    for _ in range(100):
        concurrency.answered(1, 30.0, 16, now + 1)
    assert concurrency.limit == 16


def test_every_minute_a_probe_tells_the_time_alone():
    concurrency, _ = measured()
    concurrency.answered(1, 0.125, 16, PROBE_EVERY_S - 0.125)
    assert concurrency.limit == 16
    concurrency.answered(1, 0.125, 16, PROBE_EVERY_S)
    assert concurrency.limit == 1
    answer(concurrency, 0.5, PROBE_EVERY_S)
    assert concurrency.limit == 16
    assert concurrency.alone_s == {1: 0.5}


@pytest.mark.parametrize(("took_s", "every_s"), [(0.01, 60), (1.0, 480), (1000.0, 3840)])
def test_probes_take_a_small_part_of_the_time_and_come_hourly_at_least(took_s, every_s):
    concurrency = AdaptiveConcurrency(16)
    concurrency.answered(1, took_s, 1, 0.0)
    now = answer(concurrency, took_s, 0.0)
    assert concurrency.probe_due == (now // every_s + 1) * every_s


def test_a_failure_halves_it_down_to_one():
    concurrency, now = measured()
    limits = []
    for _ in range(6):
        now += 10
        concurrency.failed(10, now)
        limits.append(concurrency.limit)
    assert limits == [8, 4, 2, 1, 1, 1]


def test_a_stall_of_sixteen_requests_halves_it_once():
    concurrency, now = measured()
    for number in range(16):
        concurrency.failed(30.0, now + 30 + number / 10)
    assert concurrency.limit == 8


def test_after_failures_it_grows_again_from_one():
    concurrency, now = measured(most=16)
    for _ in range(6):
        now += 10
        concurrency.failed(10, now)
    answer(concurrency, 0.125, now, rounds=14)
    assert concurrency.limit == 16


def test_a_probe_survives_failures():
    concurrency = AdaptiveConcurrency(16)
    concurrency.answered(1, 0.25, 2, 0.25)
    concurrency.failed(10, 10.25)
    assert concurrency.limit == 1
    now = answer(concurrency, 0.25, 10.25)
    answer(concurrency, 0.25, now)
    assert concurrency.limit == 2


def test_it_remembers_one_time_a_class_of_size_and_one_round():
    concurrency, now = AdaptiveConcurrency(16), 0.0
    chance = random.Random(1)
    for _ in range(20_000):
        now += 0.05
        concurrency.answered(chance.randint(0, 1000), 0.04, concurrency.limit, now)
        assert len(concurrency.alone_s) <= 11
        assert len(concurrency.answers) <= max(ROUND, 16)


seconds = st.floats(0, 1e9)


@given(
    st.integers(1, 100),
    st.lists(st.tuples(st.booleans(), st.integers(0, 500), seconds, st.integers(0, 200), st.floats(0, 1000)), max_size=100),
)
def test_whatever_happens_it_stays_between_one_and_the_most(most, events):
    concurrency, now = AdaptiveConcurrency(most), 0.0
    for good, contacts, took_s, in_flight, passed_s in events:
        now += passed_s
        if good:
            concurrency.answered(contacts, took_s, in_flight, now)
        else:
            concurrency.failed(took_s, now)
        assert 1 <= concurrency.limit <= most
        assert 1 <= concurrency.sustained <= most


@given(st.integers(1, 64), st.lists(st.floats(0, 60), min_size=50, max_size=150), st.randoms(use_true_random=False))
def test_whatever_the_times_of_full_rounds_it_stays_between_one_and_the_most(most, times, chance):
    concurrency, now = AdaptiveConcurrency(most), 0.0
    for took_s in times:
        now += took_s
        concurrency.answered(chance.choice((1, 200)), took_s, concurrency.limit, now)
        assert 1 <= concurrency.limit <= most
