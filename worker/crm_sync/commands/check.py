"""crm-sync check: is everything as it must be?"""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

import click
from rich.table import Column, Table
from rich.text import Text

from crm_sync.adoption import migrations
from crm_sync.configuration import Configuration, load
from crm_sync.crm.account import Account
from crm_sync.errors import ConfigurationError, CrmSyncError, DatabaseTroubleError
from crm_sync.limits.rate_limit import RateLimit
from crm_sync.postgres.listen_check import check_listening
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query
from crm_sync.reports.layout import console, prose
from crm_sync.reports.watched_columns import read_watches
from crm_sync.settings import Settings
from crm_sync.table.mapping import prepare_for
from crm_sync.table.schema import Schema, read_schema

MARKS = {True: ("ok", "green"), False: ("wrong", "red"), None: ("skipped", "yellow")}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line. well: None where there was nothing to check."""

    subject: str
    well: bool | None
    note: str


@click.command()
def check() -> None:
    """Checks database, schema, triggers, notifications, mapping and credentials: a line each, with what to do.

    Exits 1 if anything is wrong. Changes nothing.
    """
    if not asyncio.run(_check()):
        sys.exit(1)


async def _check() -> bool:
    terminal = console()
    well = True
    async for finding in findings():
        word, style = MARKS[finding.well]
        line = Table.grid(Column(width=8), Column(width=24), prose(""), padding=(0, 1))
        line.add_row(Text(word, style), finding.subject, finding.note)
        terminal.print(line)
        well = well and finding.well is not False
    return well


async def findings() -> AsyncIterator[Finding]:
    """Each check in the order in which one rests on the other; the first that fails among the database's ends it."""
    try:
        configuration = load()
        for crm in configuration.crms:
            configuration.lane(crm)
    except ConfigurationError as error:
        yield Finding("settings", False, str(error))
        return
    yield Finding("settings", True, "complete")
    settings = configuration.settings

    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(
            Database(settings.database_url, size=2, behind_pooler=settings.database_behind_pooler)
        )
        steps: list[tuple[str, Callable[[], Awaitable[str]]]] = [
            ("database", partial(_writable, database)),
            ("migrations", partial(_migrated, settings)),
            ("schema and triggers", partial(_schema, settings, database)),
            ("watched columns", partial(_watched, database)),
            ("notifications", partial(_ear, settings, database)),
        ]
        for subject, step in steps:
            finding = await _finding(subject, step)
            yield finding
            if finding.well is False:
                return

        schema = await read_schema(database)
        for crm in schema.lanes:
            try:
                account = configuration.account(crm)
            except ConfigurationError as error:
                yield Finding(crm, False, str(error))
                continue
            if account is None:
                yield Finding(crm, None, "no credentials, so no lane: its contacts wait")
                continue
            yield await _finding(f"{crm} mapping", partial(_mapping, configuration, database, schema, crm, account))
            yield await _finding(f"{crm} credentials", partial(_credentials, database, crm, account))


async def _finding(subject: str, step: Callable[[], Awaitable[str]]) -> Finding:
    try:
        return Finding(subject, True, await step())
    except CrmSyncError as error:
        return Finding(subject, False, str(error))


async def _writable(database: Database) -> str:
    if await database.value(query("detect_read_only")):
        raise DatabaseTroubleError("read-only: point DATABASE_URL at the primary, or turn default_transaction_read_only off")
    return f"reachable and writable, PostgreSQL {await database.value(query('show_version'))}"


async def _migrated(settings: Settings) -> str:
    missing = await asyncio.to_thread(migrations.pending, settings.session_url)
    if missing:
        raise ConfigurationError(f"{len(missing)} not applied, the first is {missing[0]}: run `crm-sync migrate`")
    return "all applied"


async def _schema(settings: Settings, database: Database) -> str:
    schema = await read_schema(database, settings.contacts_table)
    return f"columns and triggers of {schema.table.name} in place for {', '.join(schema.lanes)}"


async def _watched(database: Database) -> str:
    schema = await read_schema(database)
    watches = (await read_watches(database, schema)).values()
    for watch in watches:
        if not watch.enabled:
            raise ConfigurationError(
                f"the trigger {watch.trigger} is disabled, so changes of {', '.join(watch.columns)} are not sent to {watch.crm}: "
                f"run `ALTER TABLE {schema.table.name} ENABLE TRIGGER {watch.trigger}` or `crm-sync unwatch {watch.crm}`"
            )
    return "; ".join(f"{watch.crm}: {', '.join(watch.columns)}" for watch in watches) or "none: what is flipped is sent"


async def _ear(settings: Settings, database: Database) -> str:
    await check_listening(settings.session_url, database)
    return "a notification sent through the pool arrived"


async def _mapping(configuration: Configuration, database: Database, schema: Schema, crm: str, account: Account) -> str:
    mapping = await prepare_for(database, crm, configuration.mapping, account.default_fields, schema, forms=account.forms)
    return ". ".join([f"email and {len(mapping.fields)} fields: {', '.join(mapping.fields)}", *mapping.notes])


async def _credentials(database: Database, crm: str, account: Account) -> str:
    async with account.open(RateLimit(database, crm, account.windows)) as client:
        said = await client.check()
    return f"{said}; through {account.proxy}" if account.proxy else said
