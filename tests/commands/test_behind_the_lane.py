"""Commands that read from a CRM let a working lane go first, and share its limits."""

from dataclasses import replace

import pytest

from crm_sync.commands import compare, match
from crm_sync.configuration import Configuration
from crm_sync.core.drift import Drift
from crm_sync.core.waits import USUAL
from crm_sync.daemon.installation import plan_lane
from crm_sync.environment import Environment
from crm_sync.lane.comparing import Wanted
from crm_sync.limits.behind_the_lane import MOST_LOOKS, BehindTheLane
from crm_sync.postgres import locks
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import name_of
from crm_sync.settings import Settings
from crm_sync.table.schema import read_schema
from tests.harness import ScriptedCrm, account, having
from tests.roles import as_worker
from tests.steps import insert, write

QUICK = replace(USUAL, courtesy_s=0.0)


class Counting(Database):
    """looks: how often it was asked whether contacts are ready."""

    looks = 0

    async def value(self, statement, *arguments):
        self.looks += name_of(statement) == "detect_ready"
        return await super().value(statement, *arguments)


def configured(url, client):
    environment = Environment({"database_url": as_worker(url)})
    return Configuration(environment.read(Settings), environment, lambda: having({"brevo": account(client)}))


async def looks(url):
    """Of one request."""
    async with Counting(as_worker(url), size=2) as database:
        wanted = configured(url, ScriptedCrm()).of_lane("brevo")
        plan = await plan_lane(database, await read_schema(database), wanted)
        await plan.behind_the_lane(database, QUICK).slot()
        return database.looks


async def test_a_request_waits_while_contacts_are_in_line_and_a_worker_is_there(app, url):
    contact = await insert(app, "Queued")
    assert await looks(url) == 1, "without a worker there is nobody to wait for"
    await app.execute("SELECT pg_advisory_lock($1, 1)", locks.WORKER)  # as a living worker holds it
    assert await looks(url) == MOST_LOOKS
    await write(app, contact, sync_status="Skipped")
    assert await looks(url) == 1


async def compared(configuration):
    await compare._compare(configuration, QUICK, compare.Run("brevo", Wanted(), Drift()))


async def matched(configuration):
    assert await match._match(configuration, QUICK, "brevo", anew=False)


@pytest.mark.parametrize("command", [compared, matched])
async def test_both_commands_that_read_go_behind(url, command):
    client = ScriptedCrm()
    await command(configured(url, client))
    assert isinstance(client.limiter, BehindTheLane)
