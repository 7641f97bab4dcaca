"""A lane without a database: a scripted CRM, the judge of its answers, and contacts in line. A request takes a second of virtual
time.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from types import SimpleNamespace

from crm_sync.core.operation import Operation
from crm_sync.core.outcome import Contact, Outcome, Unsent, Verdict
from crm_sync.core.retry import RetryPolicy
from crm_sync.core.tally import Tally
from crm_sync.core.waits import USUAL
from crm_sync.crm.client import Entry
from crm_sync.errors import OutageError, StatusRefusedError
from crm_sync.lane.channel import Channel
from crm_sync.lane.judge import Judge
from tests import virtual_time
from tests.harness import ScriptedCrm

TIMED = ("crm_sync.lane.judge", "crm_sync.lane.requests", "crm_sync.lane.status_refusals")
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ROUND_TRIP_S = 1.0
PROBE = 7  # its token
AWAY = OutageError("CRM_ERROR", "500")

Answer = Callable[[Sequence[Contact]], Exception | Sequence[Entry] | None]


def contact(number: int, token: int = 1) -> Contact:
    return Contact(number, token, 1, None, f"{number}@example.com", NOON, {})


def page(operation: Operation | None = None, status: int = 403) -> StatusRefusedError:
    """A page that is not in the CRM's own format."""
    return StatusRefusedError(
        "REFUSED", f"{status}, not the CRM's: check the address", said=f"{status}: Blocked", operation=operation
    )


class Breaker:
    """openings: what it was told, each time. It stays shut for all but the probe."""

    def __init__(self) -> None:
        self.openings: list[SimpleNamespace] = []
        self.pauses: list[float] = []
        self.answers = self.given_back = 0
        self.shut = False

    def is_probe(self, token: int) -> bool:
        return token == PROBE

    async def failed(self, code, reason, *, refused, probe) -> None:
        self.openings.append(SimpleNamespace(code=code, reason=reason, refused=refused, probe=probe))
        self.shut = True

    async def throttled(self, _code, _reason, pause_s) -> None:
        self.pauses.append(pause_s)
        self.shut = True

    async def answered(self) -> None:
        self.answers += 1
        self.shut = False

    async def give_back(self) -> None:
        self.given_back += 1


class Permits:
    """More than any batch needs."""

    def __init__(self) -> None:
        self.told: list[bool] = []
        self.failures = 0

    @asynccontextmanager
    async def ahead(self):
        yield

    def answered(self, _contacts, _took_s, *, told) -> None:
        self.told.append(told)

    def failed(self, _took_s) -> None:
        self.failures += 1


class Lane:
    """answer: what the CRM says to a request: an error; entries; None: all are delivered.

    requests: the ids in each. at_once: with each, how many were under way. served: by id, when its request was answered.
    verdicts: by id.
    """

    def __init__(self, answer: Answer, *, operation: Operation | None = None, refused=None) -> None:
        self.operation = operation
        self.answer = answer
        self.breaker = Breaker()
        self.permits = Permits()
        self.requests: list[list[int]] = []
        self.served: dict[int, float] = {}
        self.verdicts: dict[int, Outcome] = {}
        self.under_way = 0
        self.at_once: list[int] = []
        client = ScriptedCrm(batch_limit=600)
        client.deliver = self._deliver
        channel = Channel("brevo", client, None, self.breaker, None, self.permits, None, RetryPolicy(3, 60.0), USUAL, Tally())
        self.stopped = False
        self.judge = Judge(channel, may_send=self._may_send, refused=refused)

    def _may_send(self, contacts: Sequence[Contact]) -> bool:
        return not self.stopped and (not self.breaker.shut or all(one.token == PROBE for one in contacts))

    async def _deliver(self, contacts: Sequence[Contact]) -> Sequence[Entry]:
        loop = asyncio.get_running_loop()
        self.requests.append([one.id for one in contacts])
        self.under_way += 1
        self.at_once.append(self.under_way)
        began = virtual_time.monotonic()
        said = self.answer(contacts)
        await asyncio.sleep(ROUND_TRIP_S)
        self.under_way -= 1
        if isinstance(said, Exception):
            raise said
        said = [Outcome.delivered("7")] * len(contacts) if said is None else said
        if self.operation is not None and any(isinstance(one, Outcome) for one in said):
            self.operation.served(began, virtual_time.monotonic())
        self.served |= {one.id: loop.time() for one, entry in zip(contacts, said, strict=True) if isinstance(entry, Outcome)}
        return said

    async def deliver(self, contacts: Sequence[Contact]) -> list[Contact]:
        """One batch. Returns those without a verdict."""
        settled = await self.judge.outcomes(contacts)
        for one, outcome in zip(contacts, settled, strict=True):
            if isinstance(outcome, Outcome):
                self.judge.settled(one)
                self.verdicts[one.id] = outcome
        return [one for one, outcome in zip(contacts, settled, strict=True) if outcome is None or isinstance(outcome, Unsent)]


def scripted(test):
    """The test runs in virtual time."""

    def run(*arguments, **named):
        return virtual_time.run(test(*arguments, **named), *TIMED)

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    run.__wrapped__ = test
    return run


def contacts(count, first=0):
    return [contact(number) for number in range(first, first + count)]


def minding(bad, error):
    """The CRM refuses each request with one of these contacts in it."""
    return lambda asked: error if bad & {one.id for one in asked} else None


def named(lane):
    """The contacts that are marked."""
    return {number for number, outcome in lane.verdicts.items() if outcome.verdict is not Verdict.DELIVERED}
