"""A worker's identity: its id, shown by an advisory lock, and its row in the registry.

A new worker takes an id that is neither locked by a session nor in the registry. After a reconnect it keeps its id, because its
contacts in flight are claimed with it; if its former session still holds the lock, that session is terminated. If another session
holds the lock, or the former one cannot be terminated, the worker takes a new id, and still finishes its contacts in flight.
"""

import asyncio
import os
import secrets
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import asyncpg
import structlog

from crm_sync import __version__, events
from crm_sync.core.waits import USUAL, Waits
from crm_sync.errors import DatabaseTroubleError, StatementRefusedError

IDS_IN_TURN = 20  # tried in sequence: if that many are taken, the sequence is behind, or somebody holds them all
IDS_TRIED = 40  # the rest at random
LARGEST_ID = 2**31 - 1

log = structlog.get_logger()


class Registration:
    """fetch: runs a statement on the session. Every method raises as it does."""

    def __init__(self, fetch: Callable[..., Awaitable[list[asyncpg.Record]]], waits: Waits = USUAL) -> None:
        self.worker_id: int | None = None
        self._fetch = fetch
        self._former_session_s = waits.former_session_s
        self._backend: Sequence[Any] = (None, None)  # of the session: server process id, and start time

    async def open(self) -> None:
        """With a new session. Raises DatabaseTroubleError also if no id is available."""
        if self.worker_id is None or not await self._lock_again(self.worker_id):
            self.worker_id = await self._lock_new()
        await self.register()
        await self._fetch("give_permits", self.worker_id, None, None)  # from our former session

    async def register(self) -> None:
        rows = await self._fetch("register_worker", self.worker_id, socket.gethostname(), os.getpid(), __version__)
        self._backend = tuple(rows[0])

    async def _lock_new(self) -> int:
        """Returns the id whose lock we now hold."""
        for number in range(IDS_TRIED):
            if number < IDS_IN_TURN:
                worker = int((await self._fetch("next_worker_id"))[0][0])
            else:
                worker = secrets.randbelow(LARGEST_ID) + 1
            is_ours, is_registered = (await self._fetch("show_alive", worker))[0]
            if is_ours and not is_registered:
                return worker
            if is_ours:
                # The id of a dead worker, whose contacts may still be in flight.
                await self._fetch("free_worker_id", worker)
        raise DatabaseTroubleError(
            f"none of {IDS_TRIED} ids for this worker is free: `crm-sync check` names who holds their locks"
        )

    async def _lock_again(self, worker: int) -> bool:
        """False if another session holds the lock of our id, or the id is not available."""
        deadline = asyncio.get_running_loop().time() + self._former_session_s
        while not (await self._fetch("show_alive", worker))[0][0]:
            # The server has not noticed yet that our former session is gone; or another session was faster.
            if not await self._end_former(worker) or asyncio.get_running_loop().time() > deadline:
                return False
            await asyncio.sleep(0.05)
        return True

    async def _end_former(self, worker: int) -> bool:
        """Whether the lock was our former session's, or is free by now."""
        try:
            return all(row[0] for row in await self._fetch("end_own_session", worker, *self._backend))
        except StatementRefusedError as error:  # workers do not need this right
            log.warning(events.DATABASE_TROUBLE, loop="session", reason=str(error), note="this worker takes a new id")
            return False
