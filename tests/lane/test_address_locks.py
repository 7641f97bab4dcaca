"""Locks on addresses: none while a worker is alone, as few statements as possible, and none left behind."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime

import pytest

from crm_sync.core.overtaking import SHORTEST_REQUEST
from crm_sync.errors import DatabaseTroubleError
from crm_sync.lane.address_locks import AddressLocks

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)


class FakeSession:
    """statements: those sent. others: addresses that another worker holds. gate: statements wait for it."""

    def __init__(self, *, alone: bool) -> None:
        self.alone = alone
        self.times_alone = int(alone)
        self.openings = 1
        self.others: set[str] = set()
        self.mine: list[str] = []
        self.statements: list[tuple[str, list[str]]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.lost = False
        self.reads = 0

    async def lock_addresses(self, crm, addresses):
        self.statements.append(("lock", sorted(addresses)))
        await self.gate.wait()
        if self.lost:
            raise DatabaseTroubleError("the session is lost")
        busy = self.others & {*addresses}
        self.mine += [one for one in addresses if one not in busy]
        return busy, NOON

    async def newest_sent(self):
        self.reads += 1
        await self.gate.wait()
        if self.lost:
            raise DatabaseTroubleError("the database is away")
        return NOON

    async def unlock_addresses(self, crm, addresses):
        self.statements.append(("unlock", sorted(addresses)))
        for one in addresses:
            self.mine.remove(one)


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


class Requests:
    """Requests that last until `end`."""

    def __init__(self, locks: AddressLocks) -> None:
        self.locks = locks
        self.busy: list[set[str]] = []
        self.overtaken_before: list[datetime] = []
        self.over = asyncio.Event()
        self.tasks: list[asyncio.Task[None]] = []

    async def start(self, *batches: list[str]) -> None:
        self.tasks += [asyncio.create_task(self._run(batch)) for batch in batches]
        await settle()

    async def _run(self, batch: list[str]) -> None:
        async with self.locks.held(batch) as held:
            self.busy.append({*held.busy})
            self.overtaken_before.append(held.overtaken_before)
            await self.over.wait()

    async def end(self) -> None:
        self.over.set()
        await asyncio.gather(*self.tasks)
        await settle()


async def test_who_is_alone_asks_nothing():
    session = FakeSession(alone=True)
    requests = Requests(AddressLocks("brevo", session, session.newest_sent))
    await requests.start(["a", "b"], ["c"])
    await requests.end()
    assert requests.busy == [set(), set()]
    assert session.statements == []


async def test_the_requests_of_a_claim_share_their_statements():
    session = FakeSession(alone=False)
    requests = Requests(AddressLocks("brevo", session, session.newest_sent))
    await requests.start(*[[str(number)] for number in range(50)])
    assert sorted(session.mine) == sorted(str(number) for number in range(50))
    await requests.end()
    assert [kind for kind, _ in session.statements].count("lock") <= 2
    assert [kind for kind, _ in session.statements].count("unlock") <= 2
    assert session.mine == []


async def test_what_another_worker_has_is_told_and_not_given_back():
    session = FakeSession(alone=False)
    session.others = {"b"}
    requests = Requests(AddressLocks("brevo", session, session.newest_sent))
    await requests.start(["a", "b"])
    assert requests.busy == [{"b"}]
    assert session.mine == ["a"]
    await requests.end()
    assert session.statements == [("lock", ["a", "b"]), ("unlock", ["a"])]


async def test_who_is_not_alone_follows_what_others_may_have_sent_until_the_addresses_were_locked():
    session = FakeSession(alone=False)
    requests = Requests(AddressLocks("brevo", session, session.newest_sent))
    await requests.start(["a"])
    assert requests.overtaken_before == [NOON - SHORTEST_REQUEST]
    await requests.end()
    assert session.reads == 0


async def test_who_is_alone_follows_what_was_sent_before_and_reads_that_once():
    session = FakeSession(alone=True)
    requests = Requests(AddressLocks("brevo", session, session.newest_sent))
    await requests.start(["a"], ["b"])
    await requests.start(["c"])
    assert requests.overtaken_before == [NOON] * 3
    assert session.reads == 1
    session.times_alone += 1  # another worker has come and gone
    await requests.start(["d"])
    assert session.reads == 2
    await requests.end()


async def test_what_was_read_before_no_request_waits_for():
    session = FakeSession(alone=True)
    locks = AddressLocks("brevo", session, session.newest_sent)
    await locks.catch_up()
    await locks.catch_up()
    assert session.reads == 1
    requests = Requests(locks)
    await requests.start(["a"])
    assert (session.reads, requests.overtaken_before) == (1, [NOON])
    await requests.end()


async def test_who_is_not_alone_has_nothing_to_read_before():
    session = FakeSession(alone=False)
    await AddressLocks("brevo", session, session.newest_sent).catch_up()
    assert session.reads == 0


async def test_requests_that_wait_for_it_share_one_look():
    session = FakeSession(alone=True)
    session.gate.clear()
    requests = Requests(AddressLocks("brevo", session, session.newest_sent))
    await requests.start(["a"], ["b"], ["c"])
    session.gate.set()
    await settle()
    assert (session.reads, requests.overtaken_before) == (1, [NOON] * 3)
    await requests.end()


async def test_where_that_cannot_be_read_nothing_is_sent():
    session = FakeSession(alone=True)
    session.lost = True
    locks = AddressLocks("brevo", session, session.newest_sent)
    requests = Requests(locks)
    await requests.start(["a"])
    with pytest.raises(DatabaseTroubleError):
        await requests.tasks.pop()
    session.lost = False
    await requests.start(["a"])
    assert requests.busy == [set()]
    await requests.end()


@pytest.mark.parametrize("alone", [True, False])
async def test_what_another_request_of_this_worker_has_is_told(alone):
    """A deletion next to an upsert: a session can lock its own lock twice."""
    session = FakeSession(alone=alone)
    requests = Requests(AddressLocks("brevo", session, session.newest_sent))
    await requests.start(["a", "b"])
    await requests.start(["b", "c"])
    assert requests.busy == [set(), {"b"}]
    await requests.end()
    assert session.mine == []


@pytest.mark.parametrize("alone", [True, False])
async def test_it_is_told_until_the_first_of_them_ends(alone):
    session = FakeSession(alone=alone)
    locks = AddressLocks("brevo", session, session.newest_sent)
    first, second, third = Requests(locks), Requests(locks), Requests(locks)
    await first.start(["a", "b"])
    await second.start(["b", "c"])
    await second.end()
    await third.start(["b", "c"])
    assert (second.busy, third.busy) == ([{"b"}], [{"b"}])
    assert sorted(session.mine) == ([] if alone else ["a", "b", "c"])
    await first.end()
    await third.start(["b"])
    assert third.busy == [{"b"}, set()]
    await third.end()
    assert session.mine == []


async def test_what_is_locked_is_not_locked_again_when_company_comes_once_more():
    session = FakeSession(alone=True)
    locks = AddressLocks("brevo", session, session.newest_sent)
    requests = Requests(locks)
    await requests.start(["a"])
    session.alone = False
    await locks.make_company()
    await requests.start(["b"])
    await locks.make_company()
    await requests.end()
    assert session.statements == [("lock", ["a"]), ("lock", ["b"]), ("unlock", ["a", "b"])]


async def test_when_company_comes_what_is_under_way_is_locked_and_given_back_after_it():
    session = FakeSession(alone=True)
    locks = AddressLocks("brevo", session, session.newest_sent)
    requests = Requests(locks)
    await requests.start(["a", "b"], ["c"])
    session.alone = False
    await locks.make_company()
    assert sorted(session.mine) == ["a", "b", "c"]
    await requests.end()
    assert session.mine == []


async def test_a_request_that_ends_while_it_is_being_locked_leaves_nothing_behind():
    session = FakeSession(alone=True)
    locks = AddressLocks("brevo", session, session.newest_sent)
    requests = Requests(locks)
    await requests.start(["a"])
    session.alone = False
    session.gate.clear()
    company = asyncio.create_task(locks.make_company())
    await settle()
    await requests.end()
    session.gate.set()
    await company
    await settle()
    assert session.statements == [("lock", ["a"]), ("unlock", ["a"])]
    assert session.mine == []


async def test_a_delivery_that_is_cancelled_while_it_locks_leaves_nothing_behind():
    session = FakeSession(alone=False)
    session.gate.clear()
    requests = Requests(AddressLocks("brevo", session, session.newest_sent))
    await requests.start(["a"])
    requests.tasks[0].cancel()
    with suppress(asyncio.CancelledError):
        await requests.tasks[0]
    session.gate.set()
    await settle()
    assert session.mine == []


async def test_where_the_session_is_lost_none_of_those_that_waited_goes_on():
    session = FakeSession(alone=False)
    session.gate.clear()
    requests = Requests(AddressLocks("brevo", session, session.newest_sent))
    await requests.start(["a"], ["b"], ["c"])
    session.lost = True
    session.gate.set()
    results = await asyncio.gather(*requests.tasks, return_exceptions=True)
    assert [type(result) for result in results] == [DatabaseTroubleError] * 3
    assert requests.busy == []


async def test_after_a_new_session_the_locks_of_the_former_are_not_given_back():
    session = FakeSession(alone=False)
    requests = Requests(AddressLocks("brevo", session, session.newest_sent))
    await requests.start(["a"])
    session.openings += 1
    session.mine.clear()
    await requests.end()
    assert session.statements == [("lock", ["a"])]
