"""Events as they come, for those who follow them (server-sent events). However many there are, the database is asked by one.

An event may be written later than one that happened after it: what is new is what was not there before, whatever its time.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from crm_sync.api.models import Event
from crm_sync.errors import CrmSyncError
from crm_sync.postgres.visiting import rights_of, role_in_force

LOOK_S = 2.0  # between two looks
SILENCE_S = 15.0  # before something is said, so that anyone who has gone is noticed, and no proxy takes it for dead
RETRY_MS = 5_000  # before a browser comes again

Read = Callable[[], Awaitable[Sequence[Event]]]


class Following:
    """read: the latest events, the latest first."""

    def __init__(self, read: Read, *, look_s: float = LOOK_S, silence_s: float = SILENCE_S) -> None:
        self._read = read
        self._look_s = look_s
        self._silence_s = silence_s

    def stream(self, last_id: str | None, crm: str | None = None, kind: str | None = None) -> AsyncIterator[bytes]:
        """From now on, or from after the event that was the last one: as far back as `read` goes. Ends when nobody takes more.

        While the database is away, it says nothing but that it is there.
        """
        return self._stream(role_in_force(), last_id, crm, kind)

    async def _stream(self, role: str | None, last_id: str | None, crm: str | None, kind: str | None) -> AsyncIterator[bytes]:
        yield f"retry: {RETRY_MS}\n\n".encode()
        seen = self._seen(await self._latest(role), last_id)
        silent_s = 0.0
        while True:
            latest = await self._latest(role)
            new = [one for one in reversed(latest) if one.id not in seen]
            if latest:
                seen = {one.id for one in latest}
            told = [one for one in new if crm in (None, one.crm) and kind in (None, one.event)]
            for one in told:
                yield f"id: {one.id}\nevent: {one.event}\ndata: {one.model_dump_json()}\n\n".encode()
            silent_s = 0.0 if told else silent_s + self._look_s
            if not told and silent_s >= self._silence_s:
                yield b": nothing new\n\n"
                silent_s = 0.0
            await asyncio.sleep(self._look_s)

    async def _latest(self, role: str | None) -> Sequence[Event]:
        try:
            with rights_of(role):  # the follower is asked for by a server in a context of its own
                return await self._read()
        except CrmSyncError:
            return []

    @staticmethod
    def _seen(latest: Sequence[Event], last_id: str | None) -> set[str]:
        ids = [one.id for one in latest]
        if last_id is None:
            return set(ids)
        return set(ids[ids.index(last_id) :]) if last_id in ids else set()
