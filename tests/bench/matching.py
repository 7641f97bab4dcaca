"""Matching a million rows with a HubSpot that has a tenth of them: how many requests it takes, and where the time goes.

The account has no limits here, and its sandbox runs in the same process: the time is an upper bound of our own share. The run is
interrupted halfway, and continues.
"""

import time
from dataclasses import dataclass

import asyncpg

from crm_sync.core.waits import USUAL
from crm_sync.crm.http import Http
from crm_sync.crm.hubspot.client import HubSpot
from crm_sync.lane.matching import PAGE, Matcher
from crm_sync.postgres.pool import Database
from crm_sync.sandbox.credentials import HUBSPOT_TOKEN
from crm_sync.sandbox.hubspot.sandbox import HubSpotSandbox
from crm_sync.table.mapping import FieldMapping
from crm_sync.table.matching import MatchCounts, Matching
from crm_sync.table.schema import read_schema
from tests.bench.promises import Promise, exactly, told
from tests.roles import adopt

ROWS = 1_000_000
KNOWN_EVERY = 10
FILL_TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True)
class Figures:
    """took_s: without filling the table. requests: to HubSpot."""

    counts: MatchCounts
    written: int
    requests: int
    took_s: float

    def promises(self) -> list[Promise]:
        return [
            exactly("looked up", self.counts.looked_for, ROWS),
            exactly("have their id now", self.written, ROWS // KNOWN_EVERY),
            exactly("unknown", self.counts.unknown, ROWS - ROWS // KNOWN_EVERY),
            exactly("requests, with one broken off halfway", self.requests, ROWS // 100),
            told("took", self.took_s, "s"),
            told("contacts a second", ROWS / self.took_s),
        ]


async def measure(database_url: str) -> Figures:
    adopt(database_url)
    application = await asyncpg.connect(database_url)
    async with HubSpotSandbox(requests_per_ten_seconds=None, requests_per_day=None, keep_log=False) as sandbox:
        try:
            await application.execute(
                f"INSERT INTO contacts (email) SELECT 'person.' || n || '@example.com' FROM generate_series(1, {ROWS}) AS n",
                timeout=FILL_TIMEOUT_S,
            )
            await application.execute("VACUUM ANALYZE contacts", timeout=FILL_TIMEOUT_S)
            for number in range(KNOWN_EVERY, ROWS + 1, KNOWN_EVERY):
                sandbox.account.apply(sandbox.account.plan(None, {"email": f"person.{number}@example.com"}, {}))
            began = time.monotonic()
            await _match(database_url, sandbox, pages=ROWS // PAGE // 2)
            counts = await _match(database_url, sandbox)
            took_s = time.monotonic() - began
            written = await application.fetchval("SELECT count(*) FROM contacts WHERE hubspot_contact_id IS NOT NULL")
        finally:
            await application.close()
    return Figures(counts, written, sandbox.request_count, took_s)


class _BrokenOffError(Exception):
    """After this many pages."""


async def _match(database_url: str, sandbox: HubSpotSandbox, pages: int = ROWS) -> MatchCounts:
    left = pages

    async def may_ask() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise _BrokenOffError

    async with (
        Database(database_url, size=2) as database,
        Http(sandbox.url, {"Authorization": f"Bearer {HUBSPOT_TOKEN}"}) as http,
    ):
        matching = Matching(database, (await read_schema(database)).lanes["hubspot"], FieldMapping("(email)::text", {}))
        await matching.begin(anew=False)
        try:
            return await Matcher(HubSpot(http), matching, USUAL, may_ask=may_ask, tell=lambda _: None).run()
        except _BrokenOffError:
            return matching.counts
