"""Workers that share the permits of a lane, without a database."""

import asyncio

from crm_sync.limits.concurrency_limit import ConcurrencyLimit


class FakeSession:
    """A worker's session on a server shared by all sessions of a test: who holds each permit.

    told: how often it asked the others to share again. asked: how often it asked for permits.
    """

    def __init__(self, locks: dict[int, "FakeSession"]) -> None:
        self.openings = 1
        self.told = self.asked = 0
        self._locks = locks

    async def take_permits(self, _lane_id, most, held, wanted):
        self.asked += 1
        free = [number for number in range(1, most + 1) if number not in held and number not in self._locks]
        self._locks.update(dict.fromkeys(free[:wanted], self))
        return free[:wanted]

    async def give_permits(self, _lane_id, numbers):
        for number in numbers:
            assert self._locks.pop(number) is self

    async def tell_news(self, _crm):
        self.told += 1

    def lose(self):
        for number in [number for number, holder in self._locks.items() if holder is self]:
            del self._locks[number]
        self.openings += 1


class Worker:
    """heard: how often it heard that it has permits to give back. more: how often that it has got some."""

    def __init__(self, locks, most, *, adaptive=False):
        self.session = FakeSession(locks)
        self.heard = self.more = 0
        self.permits = ConcurrencyLimit(
            "brevo", 1, self.session, most=most, adaptive=adaptive, on_more=self._get_more, on_surplus=self._hear
        )
        self.tasks = []

    def _hear(self):
        self.heard += 1

    def _get_more(self):
        self.more += 1

    async def send(self, requests):
        """This many more requests, each until `end`."""
        for _ in range(requests):
            end = asyncio.Event()
            self.tasks.append((asyncio.create_task(self._request(end)), end))
        await asyncio.sleep(0)

    async def end(self, requests):
        ended, self.tasks = self.tasks[:requests], self.tasks[requests:]
        for _, end in ended:
            end.set()
        await asyncio.gather(*(task for task, _ in ended))

    async def _request(self, end):
        async with self.permits:
            await end.wait()
