"""crm-sync match: fills in the ids of records that a CRM already has."""

import asyncio
import sys

import click

from crm_sync.configuration import Configuration, load
from crm_sync.core.waits import Waits
from crm_sync.daemon.installation import plan_lane
from crm_sync.errors import ConfigurationError, DeclinedError, LaneError
from crm_sync.lane.matching import Matcher
from crm_sync.lane.same_account import require_same_account
from crm_sync.postgres.pool import Database
from crm_sync.reports.completing import crm_names
from crm_sync.reports.lane_state import read_lane_state
from crm_sync.reports.match_report import broken_off, ended, on_the_way
from crm_sync.reports.rights import Needs, explained
from crm_sync.reports.watched_columns import lane_of
from crm_sync.table.known_account import KnownAccount
from crm_sync.table.matching import Matching
from crm_sync.table.schema import read_schema

POOL_SIZE = 2
TO_MATCH = Needs(
    lacking="the role {role} of DATABASE_URL may not match: let the owner of the table run what `crm-sync grants {role}` prints",
    absent="there is no table crm_sync.matching: run `crm-sync migrate`",
)


@click.command()
@click.argument("crm", shell_complete=crm_names)
@click.option("--again", is_flag=True, help="Begin at the first contact, even if an earlier run was interrupted.")
@click.make_pass_decorator(Waits, ensure=True)
def match(waits: Waits, *, crm: str, again: bool) -> None:
    """Fills the ids of contacts that a CRM already has. Changes nothing in the CRM.

    A record is found as a delivery finds it: by the key of HUBSPOT_MATCH, BREVO_MATCH or MAUTIC_MATCH, then by the address.

    Use it when you adopt a table and the CRM has been in use: a changed address then changes the record instead of creating a
    second one. It stays within the account's limits, lets working lanes go first, and says how many contacts the CRM does not
    have and how many are ambiguous. Contacts in line are left alone: a delivery fills their ids.

    You can interrupt it at any point and run it again: it continues.

    \b
    Example:
      crm-sync match hubspot
    """
    if not asyncio.run(_match(load(), waits, crm, anew=again)):
        sys.exit(1)


async def _match(configuration: Configuration, waits: Waits, crm: str, *, anew: bool) -> bool:
    """Whether it ran to the end."""
    settings = configuration.settings
    async with Database.of(settings, size=POOL_SIZE) as database, explained(database, TO_MATCH):
        schema = await read_schema(database, settings.contacts_table, [crm])
        name = lane_of(schema, crm)
        wanted = configuration.of_lane(name)
        if wanted is None:
            raise ConfigurationError(f"{name} has no credentials: set them, and see `crm-sync check`")
        plan = await plan_lane(database, schema, wanted)

        async def may_ask() -> None:
            state = await read_lane_state(database, name)
            if state.held or state.down:
                raise DeclinedError(f"{name} must not be called now: {state.sentence}")

        async with plan.account.open(plan.behind_the_lane(database, waits)) as client:
            if not client.keeps_records:
                raise DeclinedError(f"{name} cannot be matched: it keeps no records that can be looked up")
            await may_ask()
            matching = Matching(database, plan.table, plan.mapping, client.matched_by)
            if await matching.begin(anew=anew):
                click.echo(on_the_way(name, matching.counts, goes_on=True))
            matcher = Matcher(client, matching, waits, may_ask=may_ask, tell=lambda counts: click.echo(on_the_way(name, counts)))
            try:
                await require_same_account(client, KnownAccount(database, plan.table), noting=True)
                counts = await matcher.run()
            except (LaneError, DeclinedError) as error:
                click.echo(broken_off(name, matching.counts, error))
                return False
    click.echo(ended(name, counts))
    return True
