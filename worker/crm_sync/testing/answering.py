"""Checks: each odd answer to each request of a delivery and of a deletion."""

import re
from collections.abc import Callable

from crm_sync.core.outcome import Contact, Outcome, Verdict
from crm_sync.crm.client import Entry
from crm_sync.sandbox.server import Answer, Fault
from crm_sync.testing.base import Bench, require
from crm_sync.testing.delivering import is_delivered
from crm_sync.testing.failing import FailureChecks, Nth
from crm_sync.testing.odd import MANGLED, REPLACED


class AnswerChecks(FailureChecks):
    """Its tests are generated from the tables in `crm_sync.testing.odd`: `test_odd_answer_...`.

    Whatever the answer, a contact that the client reports as delivered is in the CRM, under the reported id, and only once.
    """

    def odd(self, name: str) -> None:
        async def strike(bench: Bench, one: Contact, place: int) -> None:
            bench.sandbox.next_faults.append(_fault(name, place))
            try:
                [entry] = await bench.deliver([one])
                self.require_true(bench.sandbox, one, entry)
                if name in REPLACED:
                    self.require_one(bench, one)
                    _require_no_verdict(name, entry)
            except AssertionError as error:
                raise AssertionError(f"{name}, instead of the answer to request {place + 1}: {error}") from error

        self.each_request(strike)

    def test_a_batch_of_which_the_answer_is_odd(self) -> None:
        async def strike(bench: Bench, place: int, name: str) -> None:
            people = self.people(min(bench.client.batch_limit, 3))
            bench.sandbox.next_faults.append(_fault(name, place))
            for one, entry in zip(people, await bench.deliver(people), strict=True):
                try:
                    self.require_true(bench.sandbox, one, entry)
                except AssertionError as error:
                    raise AssertionError(f"{name}, at request {place + 1} of a batch: {error}") from error

        for name in MANGLED:
            for place in range(2):
                self.run(lambda bench, place=place, name=name: strike(bench, place, name))  # type: ignore[misc]

    def test_a_deletion_of_which_the_answer_is_odd(self) -> None:
        async def strike(bench: Bench, name: str) -> None:
            remote_id = await self.put(bench, self.person("ada@example.com", "Ada"))
            if not self.deletes(bench.client) or remote_id is None:
                return
            bench.sandbox.next_faults.append(_fault(name, 0))
            [entry] = await bench.delete([self.deletion(remote_id)])
            is_there = self.of(bench.sandbox, "ada@example.com")
            require(not (is_delivered(entry) and is_there), f"{name}: a record is told as deleted, and is still there")

        for name in REPLACED:
            self.run(lambda bench, name=name: strike(bench, name))  # type: ignore[misc]


def _fault(name: str, place: int) -> Fault:
    if name in REPLACED:
        return Fault(matches=Nth(place), answer=REPLACED[name](Answer(200)))
    return Fault(matches=Nth(place), mangles=MANGLED[name])


def _require_no_verdict(name: str, entry: Entry) -> None:
    """A success that makes no sense must not count against a contact."""
    if REPLACED[name](Answer(200)).status == 200 and isinstance(entry, Outcome):
        require(entry.verdict is not Verdict.REJECTED, f"an answer that makes no sense rejects the contact: {entry}")


def _check(name: str) -> Callable[[AnswerChecks], None]:
    def check(self: AnswerChecks) -> None:
        self.odd(name)

    check.__doc__ = f"The answer is {name}."
    return check


for _name in (*REPLACED, *MANGLED):
    setattr(AnswerChecks, f"test_odd_answer_{re.sub(r'[^a-z0-9]+', '_', _name.lower())}", _check(_name))
