"""crm-sync check: is everything as it should be?"""

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from enum import Enum
from functools import partial

import click
from rich.table import Column, Table
from rich.text import Text

from crm_sync.adoption import migrations
from crm_sync.configuration import Configuration, LaneConfiguration, load_for_worker
from crm_sync.crm.plug_in_errors import told_as_lane_errors
from crm_sync.daemon.installation import LanePlan, plan_lane
from crm_sync.errors import ConfigurationError, CrmSyncError, DatabaseTroubleError, RefusedError
from crm_sync.limits.rate_limit import RateLimit
from crm_sync.postgres.listen_check import check_listening
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query
from crm_sync.reports.clearing_note import clearing_note
from crm_sync.reports.history_notes import history_notes
from crm_sync.reports.lane_label import stalled_notes
from crm_sync.reports.lane_state import read_lane_states
from crm_sync.reports.layout import console, prose
from crm_sync.reports.missing_credentials import missing_credentials
from crm_sync.reports.ownership import lost_notes, stranger_notes
from crm_sync.reports.refused_rows import refused_notes
from crm_sync.reports.remote_fields import compare_fields
from crm_sync.reports.rights import with_advice
from crm_sync.reports.session_report import connection_notes, path_notes, pooler_notes
from crm_sync.reports.status_reading import read_status
from crm_sync.reports.table_notes import table_notes
from crm_sync.reports.twins import twin_notes
from crm_sync.reports.watched_columns import read_watches
from crm_sync.settings import Settings
from crm_sync.table.mapping import FieldMapping
from crm_sync.table.rights import require_alert_rights, require_worker_rights
from crm_sync.table.schema import ADOPT, Schema, inspect_schema
from crm_sync.telling.channels import require_channels

_NAME = re.compile(r"[A-Z0-9]+(?:_[A-Z0-9]+)+")


class Verdict(Enum):
    """The result of one check. WARNING: it does no harm, but is hardly intended."""

    OK = ("ok", "green")
    WRONG = ("wrong", "red")
    SKIPPED = ("skipped", "yellow")
    WARNING = ("warning", "yellow")


@dataclass(frozen=True, slots=True)
class Finding:
    """One line."""

    subject: str
    verdict: Verdict
    note: str


@click.command()
def check() -> None:
    """Checks settings, database, schema, triggers and notifications, and for each CRM rights, mapping, credentials and fields.
    Prints one line each, with what to do.

    Exits 1 if anything is wrong. Changes nothing.

    \b
    Example:
      crm-sync check
    """
    if any(finding.verdict is Verdict.WRONG for finding in asyncio.run(tell_findings())):
        sys.exit(1)


async def tell_findings() -> list[Finding]:
    """Prints each as it is found."""
    terminal = console()
    told = []
    async for finding in findings():
        word, style = finding.verdict.value
        line = Table.grid(Column(width=8), Column(width=24), prose(""), padding=(0, 1))
        line.add_row(Text(word, style), finding.subject, finding.note)
        terminal.print(line)
        told.append(finding)
    return told


async def findings() -> AsyncIterator[Finding]:
    """The checks, each after those it depends on. The first failure of a check that all CRMs depend on ends the list; a fault of
    one CRM does not stop the checks of the others.
    """
    try:
        configuration = load_for_worker()
        without_effect = configuration.names_without_effect()
    except ConfigurationError as error:
        yield Finding("settings", Verdict.WRONG, str(error))
        return
    yield Finding(
        "settings", Verdict.OK, f"complete; with credentials for {', '.join(configuration.with_credentials()) or 'no CRM'}"
    )
    for name in without_effect:
        yield Finding("settings", Verdict.WARNING, name.sentence)
    yield _of_alerts(configuration)
    settings = configuration.settings
    for setting, note in connection_notes(settings):
        yield Finding(setting, Verdict.WARNING, note)

    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database.of(settings, size=2))
        steps: list[tuple[str, Callable[[], Awaitable[str]]]] = [
            ("database", partial(_writable, database)),
            ("migrations", partial(_migrated, settings)),
            ("schema and triggers", partial(_schema, settings, database)),
            ("rights", partial(_rights, database)),
            ("watched columns", partial(_watched, database)),
            ("notifications", partial(_ear, settings, database)),
        ]
        for subject, step in steps:
            finding = await _finding(subject, step)
            yield finding
            if finding.verdict is Verdict.WRONG:
                return

        schema = await inspect_schema(database)
        async for subject, note in _warnings(settings, database, schema):
            yield Finding(subject, Verdict.WARNING, note)
        lane_states = await read_lane_states(database)
        installed = [*schema.lanes, *schema.faults]
        for crm in sorted(
            {*installed, *configuration.crms}, key=lambda crm: (crm not in installed, [*lane_states, crm].index(crm))
        ):
            async for finding in _of_a_crm(configuration, database, schema, crm):
                yield finding
            if crm in lane_states and lane_states[crm].fault is not None:
                note = f"{lane_states[crm].fault}. If settings were changed since: systemctl reload, or SIGHUP"
                yield Finding(f"{crm} at a worker", Verdict.WRONG, note)


def _of_alerts(configuration: Configuration) -> Finding:
    try:
        settings = require_channels(configuration.environment)
    except ConfigurationError as error:
        return Finding("alerts", Verdict.WRONG, str(error))
    set_ = [
        name.upper() for name in ("alert_webhook_url", "alert_command", "alert_ping_url") if getattr(settings, name) is not None
    ]
    if not set_:
        return Finding("alerts", Verdict.SKIPPED, "no channel is set, so they are in the log and in `crm-sync alerts` only")
    return Finding("alerts", Verdict.OK, f"{', '.join(set_)}; `crm-sync alerts test` tries them")


async def _warnings(settings: Settings, database: Database, schema: Schema) -> AsyncIterator[tuple[str, str]]:
    """(subject, note)."""
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
    for crm, note in await refused_notes(database):
        yield f"{crm} contacts", note
    for crm, note in stalled_notes(await read_status(database, refused={})):
        yield f"{crm} contacts", note


async def _of_a_crm(configuration: Configuration, database: Database, schema: Schema, crm: str) -> AsyncIterator[Finding]:
    """Nothing for a CRM that is neither configured nor installed."""
    is_installed = crm in schema.lanes or crm in schema.faults
    try:
        wanted = configuration.of_lane(crm)
    except ConfigurationError as error:
        yield Finding(f"{crm} settings", Verdict.WRONG, str(error))
        wanted = None
    else:
        if wanted is None and is_installed:
            missing = await missing_credentials(database, configuration, schema, crm)
            yield Finding(crm, Verdict.WARNING if missing.is_felt else Verdict.SKIPPED, missing.note)
    if fault := schema.faults.get(crm):
        yield Finding(f"{crm} columns", Verdict.WRONG, fault)
    if wanted is None:
        return
    mapping: FieldMapping | None = None
    if not fault:
        try:
            plan = await plan_lane(database, schema, wanted)
            told = await _told(database, plan)
        except ConfigurationError as error:
            yield Finding(f"{crm} mapping", Verdict.WRONG, with_advice(error))
        except CrmSyncError as error:
            yield Finding(f"{crm} mapping", Verdict.WRONG, str(error))
        else:
            mapping = plan.mapping
            yield Finding(f"{crm} mapping", Verdict.OK, told)
    credentials = await _finding(f"{crm} credentials", partial(_credentials, database, wanted, configuration.keys(crm)))
    yield credentials
    if mapping is not None and credentials.verdict is Verdict.OK:
        async for finding in _fields(database, wanted, mapping):
            yield finding


async def _fields(database: Database, wanted: LaneConfiguration, mapping: FieldMapping) -> AsyncIterator[Finding]:
    """A line for each field that can never arrive."""
    crm, account = wanted.crm, wanted.account
    async with account.open(RateLimit(database, crm, account.windows)) as client:
        compared = await compare_fields(client, mapping)
    if compared.unknown is not None:
        note = f"they cannot be compared with the mapping, because the CRM does not say which it has: {compared.unknown}"
        yield Finding(f"{crm} fields", Verdict.WARNING, note)
    elif compared.known and not compared.misfits:
        yield Finding(f"{crm} fields", Verdict.OK, f"the account has all {compared.known}, and accepts the values sent to them")
    for misfit in compared.misfits:
        yield Finding(f"{crm} field {misfit.name}", Verdict.WRONG, misfit.words)


async def _finding(subject: str, step: Callable[[], Awaitable[str]]) -> Finding:
    try:
        return Finding(subject, Verdict.OK, await step())
    except ConfigurationError as error:
        return Finding(subject, Verdict.WRONG, with_advice(error))
    except CrmSyncError as error:
        return Finding(subject, Verdict.WRONG, str(error))


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


async def _told(database: Database, plan: LanePlan) -> str:
    mapping = plan.mapping
    notes = [*mapping.notes, await clearing_note(database, plan.table, mapping)]
    return ". ".join([f"email and {_fields_named(mapping.fields)}", *filter(None, notes)])


def _fields_named(names: Collection[str]) -> str:
    return f"{len(names)} field{'s'[: len(names) != 1]}: {', '.join(names)}" if names else "no other field"


async def _credentials(database: Database, wanted: LaneConfiguration, keys: Sequence[str]) -> str:
    """keys: the settings that a refusal is about."""
    crm, account = wanted.crm, wanted.account
    with told_as_lane_errors():
        async with account.open(RateLimit(database, crm, account.windows)) as client:
            try:
                said = await client.check()
            except RefusedError as error:
                if not keys or any(name.lower().startswith(f"{crm}_") for name in _NAME.findall(error.reason)):
                    raise
                raise ConfigurationError(f"{error}: check {' and '.join(keys)}") from error
    return f"{said}; through {account.proxy}" if account.proxy else said
