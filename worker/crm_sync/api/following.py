"""Events as they happen, for followers (server-sent events). However many followers there are, the database is queried once for
all.

An event may be written after one that happened later. So an event is new if it was not there before, whatever its time.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from crm_sync.api.lane_models import Event
from crm_sync.errors import CrmSyncError
from crm_sync.postgres.visiting import rights_of, role_in_force

LOOK_S = 2.0  # between two queries
SILENCE_S = 15.0  # after which something is sent, so that a disconnected follower is noticed, and no proxy closes the connection
RETRY_MS = 5_000  # before a browser reconnects

Read = Callable[[], Awaitable[Sequence[Event]]]


class Following:
    """read: returns the latest events, latest first."""

    def __init__(self, read: Read, *, look_s: float = LOOK_S, silence_s: float = SILENCE_S) -> None:
        self._read = read
        self._look_s = look_s
        self._silence_s = silence_s

    def stream(self, last_id: str | None, crm: str | None = None, kind: str | None = None) -> AsyncIterator[bytes]:
        """From now on, or from after the last event received, as far back as `read` goes. Ends when the follower disconnects.

        While the database is unreachable, it sends only keep-alive comments.
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
            with rights_of(role):  # a server may read from the stream in another context
                return await self._read()
        except CrmSyncError:
            return []

    @staticmethod
    def _seen(latest: Sequence[Event], last_id: str | None) -> set[str]:
        ids = [one.id for one in latest]
        if last_id is None:
            return set(ids)
        return set(ids[ids.index(last_id) :]) if last_id in ids else set()
