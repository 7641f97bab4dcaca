"""Whether notifications arrive: LISTEN through a transaction pooler succeeds, but never delivers."""

import asyncio
import secrets

from crm_sync.core.waits import USUAL
from crm_sync.errors import ConfigurationError, DatabaseTroubleError
from crm_sync.postgres.pool import Database, connect
from crm_sync.postgres.pooler import UNHEARD
from crm_sync.postgres.statements import query
from crm_sync.postgres.translation import translated

CHANNEL = "crm_sync"


async def prove(
    database: Database, word: str, heard: asyncio.Event, *, timeout_s: float, lost: asyncio.Event | None = None
) -> None:
    """Checks that a notification sent through the pool reaches another connection, which sets `heard` when it arrives.

    lost: set when that connection ends. Raises ConfigurationError or DatabaseTroubleError.
    """
    await database.fetch(query("send_notification"), CHANNEL, word)
    try:
        async with asyncio.timeout(timeout_s):
            await heard.wait()
    except TimeoutError:
        if lost is not None and lost.is_set():
            raise DatabaseTroubleError("the session was lost while it was opened") from None
        raise ConfigurationError(UNHEARD) from None


async def check_listening(url: str, database: Database, timeout_s: float = USUAL.listen_timeout_s) -> None:
    """Listens on a connection to url for a notification sent through the pool. Raises ConfigurationError or
    DatabaseTroubleError.
    """
    heard = asyncio.Event()
    # Workers take it for the bell of an unknown CRM.
    word = f"ear {secrets.token_hex(8)}"
    listener = await connect(url)
    try:
        async with translated():
            await listener.add_listener(CHANNEL, lambda *notification: heard.set() if notification[3] == word else None)
        await prove(database, word, heard, timeout_s=timeout_s)
    finally:
        listener.terminate()
