"""Whether a notification arrives: LISTEN through a transaction pooler succeeds, and never delivers."""

import asyncio
import secrets

from crm_sync.core.waits import USUAL
from crm_sync.errors import ConfigurationError
from crm_sync.postgres.pool import Database, connect, translated
from crm_sync.postgres.session import CHANNEL


async def prove_ear(url: str, database: Database, timeout_s: float = USUAL.listen_timeout_s) -> None:
    """Hears on a connection to url what is said through the pool. Raises ConfigurationError or DatabaseTroubleError."""
    heard = asyncio.Event()
    # Workers take it for the bell of a CRM they do not know.
    word = f"ear {secrets.token_hex(8)}"
    listener = await connect(url, {})
    try:
        async with translated():
            await listener.add_listener(CHANNEL, lambda *notification: heard.set() if notification[3] == word else None)
        await database.fetch("SELECT pg_notify($1, $2)", CHANNEL, word)
        async with asyncio.timeout(timeout_s):
            await heard.wait()
    except TimeoutError:
        raise ConfigurationError(
            "LISTEN_DATABASE_URL (or DATABASE_URL): a notification did not arrive. It must be a direct connection to the same "
            "database, not one through a transaction pooler"
        ) from None
    finally:
        listener.terminate()
