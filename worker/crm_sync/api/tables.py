"""Which CRMs there are, and how the contacts table is queried about them."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar

from crm_sync.api.reader import SharedReading
from crm_sync.core.addresses import without_addresses
from crm_sync.core.text import printable
from crm_sync.errors import ConfigurationError, DeclinedError
from crm_sync.postgres.pool import Database
from crm_sync.table.adopted_table import LaneTable
from crm_sync.table.one_contact import find_key
from crm_sync.table.schema import Schema, inspect_schema

LONGEST_KEY = 200  # characters of a key quoted in an error

Value = TypeVar("Value")


class NotFoundError(DeclinedError):
    """No such CRM or contact."""


class Tables:
    """Every method raises as Database.fetch does."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._schema = SharedReading(lambda: inspect_schema(database))

    async def schema(self) -> Schema:
        """As of some seconds ago."""
        return await self._schema.value()

    async def names(self) -> list[str]:
        """Of the CRMs whose columns are complete."""
        return [*await self.whole()]

    async def whole(self) -> Mapping[str, LaneTable]:
        """Those CRMs."""
        return (await self.schema()).lanes

    async def countable(self) -> Mapping[str, LaneTable]:
        """Including those that cannot be delivered to. Raises DeclinedError if there is none."""
        schema = await self.schema()
        if not (tables := {**schema.lanes, **schema.countable}):
            raise DeclinedError("no CRM is installed on the contacts table: run `crm-sync adopt`")
        return tables

    async def installed(self, crm: str) -> None:
        """Raises NotFoundError if this CRM is not installed."""
        schema = await self.schema()
        if crm not in (names := {**schema.lanes, **schema.countable, **schema.faults}):
            raise no_crm(crm, names)

    async def table(self, crm: str) -> LaneTable:
        """Raises NotFoundError, and DeclinedError if its columns are incomplete."""
        schema = await self.schema()
        if crm in schema.faults:
            raise DeclinedError(f"{crm}: {schema.faults[crm]}")
        if crm not in schema.lanes:
            raise no_crm(crm, schema.lanes)
        return schema.lanes[crm]

    async def found(self, table: LaneTable, key: str) -> list[Any]:
        """Raises NotFoundError, also for text that cannot be a key of this table."""
        try:
            ids = await find_key(self._database, table, key)
        except DeclinedError as error:
            raise NotFoundError(str(error)) from error
        if not ids:
            raise no_contact(key)
        return ids


async def if_allowed(read: Callable[[], Awaitable[Value]], otherwise: Value) -> Value:
    """For data that a page can do without, because a role need not have the right to it."""
    try:
        return await read()
    except ConfigurationError:
        return otherwise


def no_contact(key: str) -> NotFoundError:
    """Quotes as much of the key as fits; a reference does not reveal it."""
    return NotFoundError(f"no contact has the key {printable(without_addresses(key), LONGEST_KEY)}")


def no_crm(crm: str, installed: Iterable[str]) -> NotFoundError:
    """Names it, and the CRMs that exist."""
    return NotFoundError(f"there is no CRM {printable(crm, LONGEST_KEY)} here; installed: {', '.join(installed) or 'none'}")
