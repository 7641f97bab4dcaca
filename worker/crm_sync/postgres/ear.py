"""The connection that listens: separate from the session, so that a flood of notifications cannot delay our statements.

Any role that may connect can send as many notifications as it likes. A worker that gets far more than could be genuine stops
listening for a while. It is deaf then, as if its connection had broken. The bell is not armed while this worker would not hear
it: the lanes stay awake and poll instead (`crm_sync.postgres.bell`). The tick starts listening again.
"""

import asyncio
import secrets
from collections.abc import Callable

import asyncpg  # noqa: TC002 (as everywhere)
import structlog

from crm_sync import events
from crm_sync.core.waits import USUAL, Waits
from crm_sync.errors import ConfigurationError, DatabaseTroubleError
from crm_sync.log import Trouble
from crm_sync.postgres.listen_check import CHANNEL, prove
from crm_sync.postgres.pool import Database, connect
from crm_sync.postgres.session_settings import OF_EAR
from crm_sync.postgres.statements import query
from crm_sync.postgres.translation import translated

# Per second. All workers and flips together cause a few dozen, because flips do not ring while a worker is awake.
FLOOD = 3000

log = structlog.get_logger()


class Ear:
    """on_word is called with each notification, on_deaf when there will be none for a while."""

    def __init__(
        self,
        url: str,
        database: Database,
        *,
        on_word: Callable[[str], None],
        on_deaf: Callable[[], None],
        waits: Waits = USUAL,
    ) -> None:
        self._url = url
        self._database = database
        self._on_word = on_word
        self._on_deaf = on_deaf
        self._waits = waits
        self._connection: asyncpg.Connection | None = None
        self._test_word = ""
        self._tested = asyncio.Event()
        self._second = 0.0  # start of the second that is being counted
        self._count = 0
        self._rests_until = 0.0
        self._trouble = Trouble(loop="ear")

    @property
    def hears(self) -> bool:
        return self._connection is not None and not self._connection.is_closed()

    async def open(self) -> None:
        """Listens, and checks that notifications arrive. While resting from a flood it does not listen, which is not an error.

        Raises ConfigurationError if nothing is heard, as through a transaction pooler, and DatabaseTroubleError.
        """
        self.close()
        if self._now() < self._rests_until:
            return
        self._tested.clear()
        self._test_word = f"ear {secrets.token_hex(8)}"
        self._connection = connection = await connect(self._url, OF_EAR, self._waits.session_timeout_s)
        try:
            connection.add_termination_listener(self._when_terminated)
            async with translated():
                await connection.add_listener(CHANNEL, self._when_notified)
            await prove(self._database, connection, self._test_word, self._tested, timeout_s=self._waits.listen_timeout_s)
        except BaseException:
            self.close()
            raise

    async def tend(self) -> None:
        """Called at each tick: checks that the connection still answers, and makes a new one if not. Raises nothing."""
        try:
            if self.hears:
                await self._answer()
            else:
                await self.open()
        except (DatabaseTroubleError, ConfigurationError) as error:
            self._trouble.tell(error, note="no notifications arrive meanwhile: the worker polls instead")
            self._deafen()
        else:
            self._trouble.over()

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.remove_termination_listener(self._when_terminated)
            # Not close(): that waits for a server that may have vanished silently.
            connection.terminate()

    async def _answer(self) -> None:
        connection = self._connection
        if connection is not None:
            async with translated(), asyncio.timeout(self._waits.session_timeout_s):
                await connection.fetch(query("read_clock"))

    def _deafen(self) -> None:
        self.close()
        self._on_deaf()

    def _when_terminated(self, _connection: object) -> None:
        self._deafen()

    def _when_notified(self, connection: object, pid: int, _channel: str, payload: object) -> None:
        if connection is not self._connection:
            return  # in transit when it was closed
        if payload == self._test_word:
            self._tested.set()
            return
        now = self._now()
        if now - self._second > 1:
            self._second, self._count = now, 0
        self._count += 1
        if self._count > FLOOD:
            self._rests_until = now + self._waits.ear_rest_s
            log.warning(events.TOO_MANY_NOTIFICATIONS, pid=pid, in_a_second=self._count, rest_s=self._waits.ear_rest_s)
            self._deafen()
            return
        self._on_word(str(payload))

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
