"""What `crm-sync check` says of the database, which all CRMs depend on."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

from crm_sync.adoption import migrations
from crm_sync.errors import ConfigurationError, DatabaseTroubleError
from crm_sync.postgres.listen_check import check_listening
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query
from crm_sync.reports.history_notes import history_notes
from crm_sync.reports.lane_label import stalled_notes
from crm_sync.reports.looping_contacts import looping_notes
from crm_sync.reports.ownership import lost_notes, stranger_notes
from crm_sync.reports.refused_rows import refused_notes
from crm_sync.reports.session_report import path_notes, pooler_notes
from crm_sync.reports.status_reading import read_status
from crm_sync.reports.table_notes import table_notes
from crm_sync.reports.twins import twin_notes
from crm_sync.reports.watched_columns import read_watches
from crm_sync.settings import Settings
from crm_sync.table.rights import require_alert_rights, require_worker_rights
from crm_sync.table.schema import ADOPT, Schema, inspect_schema


def database_checks(settings: Settings, database: Database) -> list[tuple[str, Callable[[], Awaitable[str]]]]:
    """(subject, check), each after those it depends on. A check returns a sentence, and raises what is wrong."""
    return [
        ("database", partial(_writable, database)),
        ("migrations", partial(_migrated, settings)),
        ("schema and triggers", partial(_schema, settings, database)),
        ("rights", partial(_rights, database)),
        ("watched columns", partial(_watched, database)),
        ("notifications", partial(_ear, settings, database)),
    ]


async def database_warnings(settings: Settings, database: Database, schema: Schema) -> AsyncIterator[tuple[str, str]]:
    """(subject, note) of what does no harm, but is hardly intended. The checks have passed."""
    for note in [*await path_notes(database, settings), *(await pooler_notes(database) if settings.behind_pooler else [])]:
        yield "sessions", note
    try:
        await require_alert_rights(database)
    except ConfigurationError as error:
        yield "alerts", f"there are none: {error}"
    for note in await stranger_notes(database):
        yield "locks", note
    for note in [
        *await twin_notes(database, schema.table.name),
        *await table_notes(database, schema.table, schema.lanes.values()),
    ]:
        yield "contacts table", note
    for note in await history_notes(database, settings):
        yield "history", note
    for crm, note in await lost_notes(database, schema.lanes.values()):
        yield f"{crm} contacts", note
    for crm, note in await looping_notes(database, schema.lanes.values()):
        yield f"{crm} contacts", note
    for crm, note in await refused_notes(database):
        yield f"{crm} contacts", note
    for crm, note in stalled_notes(await read_status(database, refused={})):
        yield f"{crm} contacts", note


async def _writable(database: Database) -> str:
    if await database.value(query("detect_read_only")):
        raise DatabaseTroubleError("read-only: point DATABASE_URL at the primary, or turn default_transaction_read_only off")
    note = f"reachable and writable, PostgreSQL {await database.value(query('show_version'))}"
    [session] = await database.fetch(query("describe_session_role"))
    if session["role"] == session["login"]:
        return note
    return f"{note}; {session['login']} acts as {session['role']}, whose rights count: ALTER ROLE ... SET role has that effect"


async def _migrated(settings: Settings) -> str:
    missing = await asyncio.to_thread(migrations.pending, settings.session_url)
    if missing == migrations.names():
        raise ConfigurationError(f"none applied: {ADOPT}")
    if missing:
        raise ConfigurationError(f"{len(missing)} not applied, the first is {missing[0]}: run `crm-sync migrate`")
    return "all applied"


async def _schema(settings: Settings, database: Database) -> str:
    schema = await inspect_schema(database, settings.contacts_table)
    if schema.obstacle is not None:
        raise ConfigurationError(schema.obstacle)
    return f"columns and triggers of {schema.table.name} in place for {', '.join(schema.lanes) or 'no CRM'}"


async def _rights(database: Database) -> str:
    await require_worker_rights(database)
    [session] = await database.fetch(query("describe_session_role"))
    if not session["is_superuser"]:
        return "this role may run a worker"
    return (
        f"{session['role']} is a superuser, which may do anything. A worker needs little of that: let it have a role of its own, "
        "with the rights that `crm-sync grants ROLE` prints"
    )


async def _watched(database: Database) -> str:
    schema = await inspect_schema(database)
    watches = (await read_watches(database, schema)).values()
    for watch in watches:
        if not watch.enabled:
            raise ConfigurationError(
                f"the trigger {watch.trigger} is disabled, so changes of {', '.join(watch.columns)} are not sent to {watch.crm}: "
                f"run `ALTER TABLE {schema.table.name} ENABLE TRIGGER {watch.trigger}` or `crm-sync unwatch {watch.crm}`"
            )
    return (
        "; ".join(f"{watch.crm}: {', '.join(watch.columns)}" for watch in watches) or "none: only contacts that you flip are sent"
    )


async def _ear(settings: Settings, database: Database) -> str:
    await check_listening(settings.session_url, database)
    return "a notification sent through the pool arrived"
