"""What people do to columns that crm-sync needs, and how they put them back."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import asyncpg
import structlog

from tests import roles

KEY = "id"
OF_BREVO = (
    *("brevo_sync_status", "brevo_processing_status", "brevo_processing_error", "brevo_contact_id", "brevo_attempts"),
    *("brevo_due_at", "brevo_claimed_by", "brevo_synced_at", "brevo_flipped_at"),
)
WAYS = ("renamed", "dropped", "of another type")
# Of another type these are texts. The others are jsonb, which takes no word and no time.
TEXTS = ("brevo_sync_status", "brevo_processing_error", KEY)
CASES = [(column, way) for column in (*OF_BREVO, "next_retry_at", KEY) for way in WAYS]


class Broken:
    """A column of the contacts table that was renamed, dropped, or given another type."""

    def __init__(self, url: str, column: str, way: str) -> None:
        self._name = {"renamed": f"was_{column}", "dropped": None}.get(way, column)
        self._url = url
        self._column = column
        self._way = way
        self._type = self._default = ""

    def now(self, column: str) -> str | None:
        """What this column is called now; None if it is gone."""
        return self._name if column == self._column else column

    async def begin(self, app: asyncpg.Connection) -> None:
        if self._way == "renamed":
            await app.execute(f"ALTER TABLE contacts RENAME {self._column} TO {self._name}")
        elif self._way == "dropped":
            await app.execute(f"ALTER TABLE contacts DROP COLUMN {self._column} CASCADE")
        else:
            self._type, self._default = await app.fetchrow(
                "SELECT format_type(a.atttypid, a.atttypmod), pg_get_expr(d.adbin, d.adrelid) FROM pg_attribute AS a "
                "LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum "
                "WHERE a.attrelid = 'contacts'::regclass AND a.attname = $1",
                self._column,
            )
            async with _without_triggers(app):
                await app.execute(
                    f"ALTER TABLE contacts ALTER {self._column} DROP DEFAULT, ALTER {self._column} "
                    + (
                        f"TYPE text USING {self._column}::text"
                        if self._column in TEXTS
                        else f"TYPE jsonb USING to_jsonb({self._column})"
                    )
                )
            if self._default is not None and self._column in TEXTS:
                await app.execute(f"ALTER TABLE contacts ALTER {self._column} SET DEFAULT ({self._default})::text")

    async def mend(self, app: asyncpg.Connection) -> None:
        """As people do: by its name, its type, or `crm-sync adopt`."""
        if self._way == "renamed":
            await app.execute(f"ALTER TABLE contacts RENAME {self._name} TO {self._column}")
            return
        if self._way == "of another type":
            async with _without_triggers(app):
                was = self._column if self._column in TEXTS else f"({self._column} #>> '{{}}')"
                await app.execute(
                    f"ALTER TABLE contacts ALTER {self._column} DROP DEFAULT, "
                    f"ALTER {self._column} TYPE {self._type} USING {was}::{self._type}"
                )
            if self._default is not None:
                await app.execute(f"ALTER TABLE contacts ALTER {self._column} SET DEFAULT {self._default}")
        if self._column == KEY and self._way == "dropped":
            await app.execute("ALTER TABLE contacts ADD id uuid PRIMARY KEY DEFAULT gen_random_uuid()")
        # With the column, triggers went. A log of this process would be mixed with the grants.
        with structlog.testing.capture_logs():
            await asyncio.to_thread(roles.adopt, self._url)
            await asyncio.to_thread(roles.let_in, self._url)


@asynccontextmanager
async def _without_triggers(app: asyncpg.Connection) -> AsyncIterator[None]:
    """Postgres changes no type of a column that a trigger names. What does not fit the new type is left out."""
    triggers = await app.fetch(
        "SELECT tgname, pg_get_triggerdef(oid) AS definition FROM pg_trigger "
        "WHERE tgrelid = 'contacts'::regclass AND tgname LIKE 'crm\\_sync\\_%'"
    )
    for trigger in triggers:
        await app.execute(f"DROP TRIGGER {trigger['tgname']} ON contacts")
    yield
    for trigger in triggers:
        with suppress(asyncpg.PostgresError):
            await app.execute(trigger["definition"])


@contextmanager
def warnings(app: asyncpg.Connection) -> Iterator[list[asyncpg.PostgresLogMessage]]:
    """What the server warns this session of meanwhile."""
    told: list[asyncpg.PostgresLogMessage] = []

    def listen(_: object, message: asyncpg.PostgresLogMessage) -> None:
        if message.severity == "WARNING":
            told.append(message)

    app.add_log_listener(listen)
    try:
        yield told
    finally:
        app.remove_log_listener(listen)
