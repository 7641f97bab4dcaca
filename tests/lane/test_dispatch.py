"""How deliveries end when a lane stops: in time or cancelled, with a finish for every contact."""

import asyncio
from types import SimpleNamespace

import pytest

from crm_sync.core.outcome import Contact, Kind, Outcome
from crm_sync.core.retry import RetryPolicy, deferred
from crm_sync.core.waits import USUAL
from crm_sync.lane.dispatch import Dispatch
from crm_sync.table.unreadable_rows import Claimed
from tests.harness import TIMEOUT_S, ScriptedCrm

POLICY = RetryPolicy(3, 60.0)
PATIENT_S = 600.0


class Requests:
    """Stands for Deliveries: each request lasts until `answer` is set. at_its_end: called when one is cut short."""

    def __init__(self):
        self.answer = asyncio.Event()
        self.begun = []
        self.at_its_end = lambda: None

    async def deliver(self, batch):
        self.begun += [one.contact.id for one in batch]
        await self.answer.wait()
        return [POLICY.finish(one.contact, Outcome.delivered("7"), 0.5) for one in batch]

    def unsaid(self, batch):
        self.at_its_end()
        return [deferred(contact) for one in batch for contact in (one.contact, *one.twins)]


class Stage:
    """A dispatch, and the finishes that it has put, by contact."""

    def __init__(self):
        self.requests = Requests()
        self.finished = {}
        client = ScriptedCrm()
        channel = SimpleNamespace(crm="brevo", client=client, policy=POLICY, waits=USUAL, together=None)
        self.dispatch = Dispatch(channel, self.requests, None, put=self._put, on_refused=None)

    def start(self, *ids, email=None):
        contacts = [Contact(one, 1, 1, None, email or f"{one}@example.com", None, {}) for one in ids]
        self.dispatch.start(Claimed(contacts, []))

    def _put(self, finishes):
        for finish in finishes:
            assert finish.id not in self.finished, "finished twice"
            self.finished[finish.id] = finish.kind

    async def ended(self, grace_s):
        async with asyncio.timeout(TIMEOUT_S):
            await self.dispatch.ended(grace_s)

    async def until_begun(self, *ids):
        async with asyncio.timeout(TIMEOUT_S):
            while set(self.requests.begun) != {*ids}:  # noqa: ASYNC110 (the list tells nobody)
                await asyncio.sleep(0)


@pytest.fixture
def stage():
    return Stage()


async def test_those_that_are_answered_in_time_are_delivered(stage):
    stage.start(1, 2)
    await stage.until_begun(1, 2)
    stage.requests.answer.set()
    await stage.ended(PATIENT_S)
    assert stage.finished == {1: Kind.DELIVERED, 2: Kind.DELIVERED}
    assert not stage.dispatch


async def test_those_that_take_longer_are_cancelled_and_each_goes_back(stage):
    stage.start(1, 2)
    await stage.until_begun(1, 2)
    await stage.ended(0.01)
    assert stage.finished == {1: Kind.DEFERRED, 2: Kind.DEFERRED}
    assert not stage.dispatch


async def test_one_that_has_not_made_its_first_step_goes_back_too(stage):
    stage.start(1)
    await stage.ended(0)
    assert stage.finished == {1: Kind.DEFERRED}


async def test_one_that_waits_for_another_with_its_address_goes_back_too(stage):
    stage.start(1, email="ada@example.com")
    await stage.until_begun(1)
    stage.start(2, email="ada@example.com")
    await stage.ended(0.01)
    assert (stage.requests.begun, stage.finished) == ([1], {1: Kind.DEFERRED, 2: Kind.DEFERRED})


async def test_those_that_begin_meanwhile_are_left_alone(stage):
    stage.start(1)
    await stage.until_begun(1)
    ending = asyncio.create_task(stage.ended(0.01))
    await asyncio.sleep(0)
    stage.start(2)
    await ending
    assert (stage.finished, stage.dispatch.under_way) == ({1: Kind.DEFERRED}, 1)
    stage.requests.answer.set()
    await stage.ended(PATIENT_S)
    assert stage.finished[2] is Kind.DELIVERED


async def test_one_that_begins_while_the_others_are_cancelled_keeps_its_outcome(stage):
    """A claim may answer at that moment. Cancelled before its first step, a delivery would put no finish."""
    stage.start(1)
    await stage.until_begun(1)
    stage.requests.at_its_end = lambda: stage.start(2)
    await stage.ended(0.01)
    stage.requests.at_its_end = lambda: None
    await stage.ended(0.01)
    assert stage.finished == {1: Kind.DEFERRED, 2: Kind.DEFERRED}


async def test_where_it_is_waited_for_no_longer_they_are_cancelled_at_once(stage):
    stage.start(1, 2)
    await stage.until_begun(1, 2)
    ending = asyncio.create_task(stage.ended(PATIENT_S))
    await asyncio.sleep(0)
    ending.cancel()
    await asyncio.wait([ending])
    assert ending.cancelled()
    assert stage.finished == {1: Kind.DEFERRED, 2: Kind.DEFERRED}


async def test_without_deliveries_nothing_is_waited_for(stage):
    await stage.ended(PATIENT_S)
    assert stage.finished == {}
