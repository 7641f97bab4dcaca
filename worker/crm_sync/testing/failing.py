"""Checks: how a client handles a CRM that fails, refuses every contact, or whose answers do not arrive."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from crm_sync.core.outcome import Contact
from crm_sync.errors import LaneError, OutageError, RefusedError, ThrottledError
from crm_sync.sandbox.server import Answer, Call, Fault, Hold
from crm_sync.testing.base import Bench, require
from crm_sync.testing.delivering import DeliveryChecks, is_delivered
from crm_sync.testing.odd import quoting

PAUSE_S = 7.0
SHORT_TIMEOUT_S = 0.3  # for requests that are never answered
MOST_REQUESTS = 20  # of one delivery that a check examines


Strike = Callable[[Bench, Contact, int], Awaitable[None]]


class Nth:
    """Matches the request with this number, counted from 0. call: that request, once it has arrived."""

    def __init__(self, place: int) -> None:
        self._left = place
        self.call: Call | None = None

    def __call__(self, call: Call) -> bool:
        self._left -= 1
        if self._left < 0:
            self.call = call
        return self._left < 0


class FailureChecks(DeliveryChecks):
    """With a CRM that does not work. A failure that concerns every contact must not be blamed on one, and the other way round."""

    def fails(self, answer: Answer, kind: type[LaneError], words: str) -> None:
        async def check(bench: Bench) -> None:
            bench.sandbox.standing_faults.append(Fault(matches=lambda _: True, answer=answer))
            for entry in await bench.deliver(self.people(min(bench.client.batch_limit, 3))):
                require(isinstance(entry, kind), f"{words} has to be a {kind.__name__}, and is {entry!r}")
                if isinstance(entry, ThrottledError):
                    require(entry.pause_s == PAUSE_S, f"Retry-After was {PAUSE_S} s, and the pause is {entry.pause_s} s")

        self.run(check)

    def test_too_many_requests_are_a_pause_as_long_as_the_crm_says(self) -> None:
        too_many = self.sandbox().throttled()
        headers = {name: value for name, value in too_many.headers.items() if name.lower() != "retry-after"}
        answer = Answer(429, too_many.body, {**headers, "Retry-After": f"{PAUSE_S:g}"})
        self.fails(answer, ThrottledError, "429")

    def test_a_failure_of_the_crm_is_an_outage(self) -> None:
        self.fails(Answer(500, {"message": "Internal Server Error"}), OutageError, "500")

    def test_a_page_of_a_proxy_that_finds_no_crm_is_an_outage(self) -> None:
        self.fails(Answer(503, b"<html>503 Service Unavailable</html>", {"Content-Type": "text/html"}), OutageError, "503")

    def test_a_refused_key_is_everybodys(self) -> None:
        self.fails(Answer(401, {"message": "Unauthorized", "code": "unauthorized"}), RefusedError, "401")

    def test_no_answer_in_time_is_an_outage(self) -> None:
        hold = Hold()

        async def check(bench: Bench) -> None:
            if bench.account.witnessed is None:
                return  # its timeout cannot be shortened
            bench.sandbox.standing_faults.append(Fault(matches=lambda _: True, hold=hold))
            try:
                for entry in await bench.deliver(self.people(1)):
                    require(isinstance(entry, OutageError), f"no answer has to be an OutageError, and is {entry!r}")
            finally:
                hold.release()

        self.run(check, timeout_s=SHORT_TIMEOUT_S)

    def test_an_answer_that_is_lost_makes_no_second_record(self) -> None:
        async def strike(bench: Bench, one: Contact, place: int) -> None:
            bench.sandbox.next_faults.append(Fault(matches=Nth(place), applies=True, drop=True))
            [lost] = await bench.deliver([one])
            require(isinstance(lost, LaneError) or is_delivered(lost), f"a lost answer is told as {lost}")
            [entry] = await bench.deliver([one])
            require(is_delivered(entry), f"after a lost answer the contact is not delivered: {entry}")
            self.require_one(bench, one)

        self.each_request(strike)

    def test_a_redirect_is_not_followed(self) -> None:
        async def strike(bench: Bench, one: Contact, place: int) -> None:
            async with self.sandbox() as elsewhere:
                there = Answer(307, b"", {"Location": f"{elsewhere.url}/elsewhere"})
                bench.sandbox.next_faults.append(Fault(matches=Nth(place), answer=there))
                [entry] = await bench.deliver([one])
                require(not elsewhere.request_count, "a redirect was followed: key and person went elsewhere")
                self.require_true(bench.sandbox, one, entry)

        self.each_request(strike)

    def test_an_answer_that_quotes_the_request_is_not_handed_on(self) -> None:
        """As on a debug page. The bench looks for keys and personal data in everything that the client returns."""

        def quoted(nth: Nth, own: Answer) -> Answer:
            return Answer(own.status, quoting(nth.call), {"Content-Type": "application/json"})

        async def strike(bench: Bench, one: Contact, place: int) -> None:
            for status in (400, 403, 404, 409, 422, 500):
                nth = Nth(place)
                bench.sandbox.next_faults[:] = [Fault(matches=nth, answer=Answer(status), mangles=partial(quoted, nth))]
                others = self.people(min(bench.client.batch_limit, 3) - 1)
                await bench.deliver([one, *(other._replace(id=other.id + 1) for other in others)])

        self.each_request(strike)

    def each_request(self, strike: Strike) -> None:
        """Runs once for each request that a delivery needs: for a new contact, an existing one, and one with a known id; each
        time on a fresh bench.
        """

        async def whole() -> None:
            for prepare in (self.nobody, self.somebody, self.known):
                async with self.bench() as bench:
                    one = await prepare(bench)
                    before = bench.sandbox.request_count
                    await bench.deliver([one])
                    requests = bench.sandbox.request_count - before
                for place in range(min(requests, MOST_REQUESTS)):
                    async with self.bench() as bench:
                        await strike(bench, await prepare(bench), place)

        asyncio.run(whole())

    def require_one(self, bench: Bench, one: Contact) -> None:
        records = self.of(bench.sandbox, one.email or "")
        require(not bench.client.keeps_records or len(records) <= 1, f"there are {len(records)} records of one address")

    async def nobody(self, bench: Bench) -> Contact:
        """A contact that the CRM does not have."""
        return self.person("ada@example.com", "Ada")

    async def somebody(self, bench: Bench) -> Contact:
        """A contact that the CRM has."""
        await self.put(bench, self.person("ada@example.com", "Ada"))
        return self.person("ada@example.com", "Augusta")

    async def known(self, bench: Bench) -> Contact:
        """A contact that the CRM has, and whose id is in the row."""
        remote_id = await self.put(bench, self.person("ada@example.com", "Ada"))
        return self.person("ada@example.com", "Augusta", remote_id=remote_id)
