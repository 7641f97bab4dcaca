"""Whether notifications arrive: LISTEN through a transaction pooler succeeds, but never delivers."""

import asyncio
import secrets
from contextlib import suppress

import asyncpg

from crm_sync.core.waits import USUAL
from crm_sync.errors import ConfigurationError
from crm_sync.postgres.pool import Database, connect
from crm_sync.postgres.pooler import UNHEARD
from crm_sync.postgres.statements import query
from crm_sync.postgres.translation import translated

CHANNEL = "crm_sync"


async def prove(database: Database, listener: asyncpg.Connection, word: str, heard: asyncio.Event, *, timeout_s: float) -> None:
    """Checks that a notification sent through the pool reaches the listener, which sets `heard` when it arrives.

    timeout_s: before the listener is asked for an answer. The server sends notifications before the answer, so one that is not
    there by then never comes, however slow the network and the machine are. Raises ConfigurationError, or DatabaseTroubleError if
    the listener does not answer.
    """
    await database.fetch(query("send_notification"), CHANNEL, word)
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await heard.wait()
    if not heard.is_set():
        async with translated():
            await listener.fetch(query("read_clock"))
    if not heard.is_set():
        raise ConfigurationError(UNHEARD)


async def check_listening(url: str, database: Database, timeout_s: float = USUAL.listen_timeout_s) -> None:
    """Listens on a connection to url for a notification sent through the pool. Raises as prove does."""
    heard = asyncio.Event()
    # Workers take it for the bell of an unknown CRM.
    word = f"ear {secrets.token_hex(8)}"
    listener = await connect(url)
    try:
        async with translated():
            await listener.add_listener(CHANNEL, lambda *notification: heard.set() if notification[3] == word else None)
        await prove(database, listener, word, heard, timeout_s=timeout_s)
    finally:
        listener.terminate()
