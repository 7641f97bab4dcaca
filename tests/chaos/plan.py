"""Which fault comes when: decided by the seed alone, and carried out as close to these times as the machine allows."""

import asyncio
import itertools
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from random import Random

from tests.chaos.faults import FAULTS
from tests.chaos.stage import Stage

MEAN_GAP_S = 1.2  # between the starts of two faults
FIRST_S = 3.0  # at first, without any fault


@dataclass(frozen=True, slots=True)
class Planned:
    """at_s: after the start. seed: for its own random choices."""

    at_s: float
    kind: str
    lasts_s: float
    seed: int


@dataclass(slots=True)
class Happened:
    """began, healed: seconds since 1970. target: `worker 2`, `some worker`, a CRM, `the server`, `the table`."""

    kind: str
    target: str
    began: float
    healed: float = 0.0


def planned(seed: int) -> Iterator[Planned]:
    """Without end."""
    chance = Random(f"{seed}, faults")
    kinds, weights = list(FAULTS), [weight for weight, _, _ in FAULTS.values()]
    at_s = FIRST_S
    for _ in itertools.count():
        [kind] = chance.choices(kinds, weights)
        shortest_s, longest_s = FAULTS[kind][1]
        yield Planned(at_s, kind, chance.uniform(shortest_s, longest_s), chance.getrandbits(64))
        at_s += chance.expovariate(1 / MEAN_GAP_S)


class Faults:
    """happened: the healed ones. over: set when no more come. failed: could not be carried out, which is a
    bug of this program.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.over = asyncio.Event()
        self.happened: list[Happened] = []
        self.failed: list[str] = []

    async def run(self, lasts_s: float) -> None:
        """For this long; then active faults are healed at once, and it returns when all are."""
        started = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for fault in planned(self._stage.seed):
                await asyncio.sleep(max(0.0, started + min(fault.at_s, lasts_s) - time.monotonic()))
                if fault.at_s > lasts_s:
                    self.over.set()
                    return
                group.create_task(self._strike(fault))

    async def _strike(self, fault: Planned) -> None:
        try:
            async with FAULTS[fault.kind][2](self._stage, Random(fault.seed)) as target:
                this = Happened(fault.kind, target, time.time())
                with suppress(TimeoutError):
                    async with asyncio.timeout(fault.lasts_s):
                        await self.over.wait()
            this.healed = time.time()
            self.happened.append(this)
        except Exception as error:  # noqa: BLE001 (the others continue, and the report says so)
            self.failed.append(f"{fault.kind}: {type(error).__name__}: {error}")
