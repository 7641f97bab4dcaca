"""crm-sync check: is everything as it should be?"""

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from enum import Enum
from functools import partial

import click
from rich.table import Column, Table
from rich.text import Text

from crm_sync.configuration import Configuration, LaneConfiguration, load_for_worker
from crm_sync.core.codes import Code
from crm_sync.crm.client import Client
from crm_sync.crm.plug_in_errors import told_as_lane_errors
from crm_sync.daemon.installation import LanePlan, plan_lane
from crm_sync.errors import ConfigurationError, CrmSyncError, LaneError, RefusedError
from crm_sync.lane.same_account import require_same_account
from crm_sync.limits.rate_limit import RateLimit
from crm_sync.postgres.pool import Database
from crm_sync.reports.clearing_note import clearing_note
from crm_sync.reports.database_checks import database_checks, database_warnings
from crm_sync.reports.lane_state import read_lane_states
from crm_sync.reports.layout import console, prose
from crm_sync.reports.missing_credentials import missing_credentials
from crm_sync.reports.ownership import definer_notes
from crm_sync.reports.remote_fields import FieldComparison, compare_fields
from crm_sync.reports.rights import with_advice
from crm_sync.reports.session_report import connection_notes
from crm_sync.table.known_account import KnownAccount
from crm_sync.table.schema import Schema, inspect_schema
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
        for subject, step in database_checks(settings, database):
            finding = await _finding(subject, step)
            yield finding
            if finding.verdict is Verdict.WRONG:
                return

        schema = await inspect_schema(database)
        async for subject, note in database_warnings(settings, database, schema):
            yield Finding(subject, Verdict.WARNING, note)
        for crm, note in await definer_notes(database):
            yield Finding(f"{crm} triggers", Verdict.WRONG, note)
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
    plan: LanePlan | None = None
    if not fault:
        try:
            planned = await plan_lane(database, schema, wanted)
            told = await _told(database, planned)
        except ConfigurationError as error:
            yield Finding(f"{crm} mapping", Verdict.WRONG, with_advice(error))
        except CrmSyncError as error:
            yield Finding(f"{crm} mapping", Verdict.WRONG, str(error))
        else:
            plan = planned
            yield Finding(f"{crm} mapping", Verdict.OK, told)
    credentials = await _finding(f"{crm} credentials", partial(_credentials, database, wanted, configuration.keys(crm)))
    yield credentials
    if plan is not None and credentials.verdict is Verdict.OK:
        async for finding in _answers(database, wanted, plan):
            yield finding


async def _answers(database: Database, wanted: LaneConfiguration, plan: LanePlan) -> AsyncIterator[Finding]:
    """What the CRM says, with credentials that it accepts."""
    account = wanted.account
    async with account.open(RateLimit(database, wanted.crm, account.windows)) as client:
        strange = await _other_account(wanted.crm, client, KnownAccount(database, plan.table))
        compared = await compare_fields(client, plan.mapping)
    if strange is not None:
        yield strange
    for finding in _fields(wanted.crm, compared):
        yield finding


async def _other_account(crm: str, client: Client, known: KnownAccount) -> Finding | None:
    subject = f"{crm} account"
    try:
        await require_same_account(client, known, noting=False)
    except LaneError as error:
        if error.code == Code.ANOTHER_ACCOUNT:
            return Finding(subject, Verdict.WRONG, str(error))
        note = f"the CRM does not say whose account it is, so a key of another one would not be noticed: {error}"
        return Finding(subject, Verdict.WARNING, note)
    return None


def _fields(crm: str, compared: FieldComparison) -> Iterator[Finding]:
    """A line for each field that can never arrive."""
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
