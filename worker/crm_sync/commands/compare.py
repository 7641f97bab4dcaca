"""crm-sync compare: which delivered contacts differ from what a CRM holds."""

import asyncio
import json
import shlex
import sys
from collections.abc import Collection, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import click

from crm_sync.configuration import Configuration, load
from crm_sync.core.drift import Drift
from crm_sync.core.waits import Waits
from crm_sync.crm.client import Client
from crm_sync.daemon.installation import LanePlan, plan_lane
from crm_sync.errors import ConfigurationError, CrmSyncError, DatabaseTroubleError, DeclinedError, LaneError
from crm_sync.lane.comparing import EMAIL, Comparer, Wanted
from crm_sync.lane.same_account import require_same_account
from crm_sync.postgres.pool import Database
from crm_sync.reports.completing import crm_names
from crm_sync.reports.drift_report import broken_off, by_field, headline, on_the_way, remarks
from crm_sync.reports.lane_state import read_lane_state
from crm_sync.reports.layout import console, wrapped
from crm_sync.reports.rights import Needs, explained
from crm_sync.reports.watched_columns import lane_of
from crm_sync.table.clearing import read_clearing
from crm_sync.table.comparing import Comparing
from crm_sync.table.known_account import KnownAccount
from crm_sync.table.one_contact import read_key
from crm_sync.table.schema import read_schema
from crm_sync.telling import deeds

POOL_SIZE = 2
LARGEST_SAMPLE = 100_000  # keys in memory
EXIT_DRIFT = 1
EXIT_TROUBLE = 69  # EX_UNAVAILABLE of sysexits.h
EXIT_INTERRUPTED = 130
TO_COMPARE = Needs(
    lacking="the role {role} of DATABASE_URL may not compare ({refusal}). It needs the rights of a worker: let the owner of the "
    "table run what `crm-sync grants {role}` prints",
)


@dataclass(slots=True)
class Run:
    """A comparison as far as it is. crm: as it is installed."""

    crm: str
    wanted: Wanted
    drift: Drift = field(default_factory=Drift)

    @property
    def command(self) -> str:
        """As it was typed, but for --after."""
        options = [
            *(f"--field {shlex.quote(name)}" for name in self.wanted.fields),
            *(["--flip"] if self.wanted.flips else []),
            *([f"--limit {self.wanted.most}"] if self.wanted.most is not None else []),
        ]
        return " ".join(["crm-sync compare", shlex.quote(self.crm), *options])


@click.command()
@click.argument("crm", shell_complete=crm_names)
@click.option("--flip", is_flag=True, help="Queue the contacts that differ, in short transactions.")
@click.option("--field", "fields", multiple=True, metavar="NAME", help="Only this field of the mapping; repeat it for several.")
@click.option("--sample", type=click.IntRange(1, LARGEST_SAMPLE), metavar="N", help="N delivered contacts picked at random.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Stop after N contacts.")
@click.option("--after", metavar="KEY", help="Continue after the contact with this key, as an interrupted run prints it.")
@click.option("--show-values", is_flag=True, help="Show the values of the examples. On a terminal only: they are personal data.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for scripts. Without values.")
@click.make_pass_decorator(Waits, ensure=True)
def compare(
    waits: Waits,
    *,
    crm: str,
    flip: bool,
    fields: Sequence[str],
    sample: int | None,
    limit: int | None,
    after: str | None,
    show_values: bool,
    as_json: bool,
) -> None:
    """Compares delivered contacts with what a CRM holds, and says which fields differ. Changes nothing in the CRM.

    Values are compared as they would be sent. A field that is empty in the row is compared only if it is to be cleared. Contacts
    in line or in flight are left out. It stays within the account's limits, and behind the workers. Exits 0 if nothing differs, 1
    if contacts differ, are ambiguous or unknown to the CRM, and 69 if it could not compare, or not to the end.

    You can interrupt it at any point, and continue with --after.

    \b
    Example:
      crm-sync compare hubspot --sample 1000
    """
    if sample is not None and (after is not None or limit is not None):
        raise click.UsageError(f"--sample and {'--after' if after is not None else '--limit'} exclude each other")
    if show_values and (as_json or not sys.stdout.isatty()):
        raise click.UsageError("--show-values is for a terminal: values are personal data, and a file or a pipe keeps them")
    run = Run(crm.strip().lower(), Wanted(fields, after, limit, sample, flip, show_values))
    interrupted: CrmSyncError | str | None = None
    code = EXIT_DRIFT
    try:
        asyncio.run(_compare(load(), waits, run))
    except (LaneError, DeclinedError, DatabaseTroubleError) as error:
        if not run.drift.looked_up and run.drift.last_key is None:
            click.echo(f"crm-sync: {error}", err=True)
            sys.exit(EXIT_TROUBLE)
        interrupted, code = error, EXIT_TROUBLE
    except KeyboardInterrupt:
        interrupted, code = "Ctrl-C.", EXIT_INTERRUPTED
    _tell(run, as_json=as_json, ended=interrupted is None)
    if interrupted is not None:
        click.echo(broken_off(run.crm, run.drift, interrupted, run.command), err=True)
    if interrupted is not None or run.drift.found:
        sys.exit(code)


def _tell(run: Run, *, as_json: bool, ended: bool) -> None:
    if as_json:
        click.echo(json.dumps({"crm": run.crm, "ended": ended, **run.drift.as_object()}, indent=2))
        return
    click.echo(headline(run.crm, run.drift))
    if table := by_field(run.drift):
        console().print(table)
    for line in remarks(run.crm, run.drift, run.command, flips=run.wanted.flips):
        click.echo(wrapped(line))


async def _compare(configuration: Configuration, waits: Waits, run: Run) -> None:
    settings = configuration.settings
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database.of(settings, size=POOL_SIZE))
        await stack.enter_async_context(explained(database, TO_COMPARE))
        schema = await read_schema(database, settings.contacts_table, [run.crm])
        name = lane_of(schema, run.crm)
        wanted = configuration.of_lane(name)
        if wanted is None:
            raise ConfigurationError(f"{name} has no credentials: set them, and see `crm-sync check`")
        plan = await plan_lane(database, schema, wanted)
        _require_fields(run.wanted.fields, plan)
        if run.wanted.after is not None:
            await _require_key(database, plan, run.wanted.after)
        client = await stack.enter_async_context(plan.account.open(plan.behind_the_lane(database, waits)))
        if not client.keeps_records:
            raise DeclinedError(
                f"{name} cannot be compared: it keeps no records that can be read, its workflow decides what it does"
            )
        comparer = await _comparer(database, plan, client, waits, run)
        await comparer.run()


def _require_fields(fields: Collection[str], plan: LanePlan) -> None:
    names = [EMAIL, *plan.mapping.fields]
    if unknown := [one for one in fields if one not in names]:
        raise click.BadParameter(
            f"{unknown[0]} is not in the mapping of {plan.table.crm}; these are: {', '.join(names)}", param_hint="--field"
        )


async def _require_key(database: Database, plan: LanePlan, key: str) -> None:
    try:
        await read_key(database, plan.table, key)
    except DeclinedError as error:
        raise click.BadParameter(str(error), param_hint="--after") from error


async def _comparer(database: Database, plan: LanePlan, client: Client, waits: Waits, run: Run) -> Comparer:
    crm = plan.table.crm
    clearing = await read_clearing(database, crm, plan.mapping.emptied, numbering=False)

    async def may_ask() -> None:
        state = await read_lane_state(database, crm)
        if state.held or state.down:
            raise DeclinedError(f"{crm} must not be called now: {state.sentence}")

    await may_ask()
    await require_same_account(client, KnownAccount(database, plan.table), noting=False)

    async def queued(contacts: int) -> None:
        details: dict[str, Any] = {"contacts": contacts, "fields": [*run.wanted.fields]}
        deeds.tell(await deeds.note(database, deeds.DRIFT_QUEUED, crm, **details))

    def tell(drift: Drift) -> None:
        click.echo(on_the_way(crm, drift), err=True)

    comparing = Comparing(database, plan.table, plan.mapping, clearing)
    return Comparer(
        client, comparing, plan.mapping, waits, drift=run.drift, wanted=run.wanted, may_ask=may_ask, tell=tell, queued=queued
    )
