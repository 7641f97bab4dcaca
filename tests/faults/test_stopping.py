"""A worker that is told to stop ends in its time, at whatever moment, before a Postgres or a CRM that has gone silent.

Whatever waits for a statement's own timeout would wait for longer than these tests do.
"""

import asyncio
import re
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from crm_sync import events
from crm_sync.core.waits import Waits
from crm_sync.daemon.daemon import Daemon
from crm_sync.lane.lane import Lane
from crm_sync.postgres.statements import files, read
from tests.faults.promise import LINE_UP, SlowToSayFields
from tests.faults.proxy import LostAnswer, Proxy
from tests.harness import ALL_COMPLETE, TIMEOUT_S, ScriptedCrm, account, configured, daemon_for, driven, running, until
from tests.roles import as_worker
from tests.tiers import one_quick, slow

ENDLESS_S = 600.0
PATIENT = Waits(
    statement_timeout_s=ENDLESS_S, session_timeout_s=ENDLESS_S, listen_timeout_s=ENDLESS_S, finish_grace_s=0.3, last_words_s=0.3
)
VARIABLE = re.compile(r"(?<!:):['a-z]")  # of psql
CONDITIONAL = re.compile(r"(?s)\\if .*?\\endif")
DEAD = 4_000_000  # no worker

# By what the worker is doing: the statement that goes out then.
BEFORE = [
    "count_contacts",  # in a transaction
    "list_columns",  # reading the table
    "register_worker",
    "join_company",
    "send_notification",  # proving that it hears
    "find_dead_workers",
    "find_orphans",
    "read_breaker",
    "become_keeper",
    "claim_contacts",
    "finish_contacts",
    "note_progress",
    "age_snapshot",
    "take_alert_duty",
]
AT_ITS_END = ["forget_workers", "write_minutes", "write_events"]


def mark(name: str) -> str:
    """A line that only this statement has, and always."""
    lines = {line.strip() for line in CONDITIONAL.sub("", read(name)).splitlines() if not VARIABLE.search(line)}
    others = {line.strip() for other in files() if other != name for line in read(other).splitlines()}
    return max((line for line in lines - others if not line.startswith("--")), key=len)


class Ambush(Proxy):
    """When the worker sends the statement, Postgres falls silent, where it is to."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.statement = ""
        self.silences = False
        self.seen = asyncio.Event()

    def take_lost_answer(self, statement: bytes) -> LostAnswer | None:
        if self.statement and self.statement.encode() in statement and not self.seen.is_set():
            self.seen.set()
            if self.silences:
                self.black_hole()
        return super().take_lost_answer(statement)


@pytest.fixture
def crm() -> Iterator[SlowToSayFields]:
    crm = SlowToSayFields(concurrency=2)
    crm.says_fields.set()
    yield crm
    crm.gate.set()
    crm.says_fields.set()


async def leave_behind(app):
    """A contact in flight, of a worker that is dead."""
    await app.execute("INSERT INTO crm_sync.workers (id, host, pid, version) VALUES ($1, 'gone', 1, '0')", DEAD)
    await app.execute(LINE_UP, "orphan", 1)
    claim = "brevo_sync_status = 'Processing', brevo_processing_status = 'Processing', brevo_claimed_by = $1"
    await app.execute(f"UPDATE contacts SET {claim}", (DEAD << 32) | 1)


async def stopped(daemon, task):
    """Told to, it ends, in its time. Returns when it has."""
    daemon.stop.set()
    async with asyncio.timeout(TIMEOUT_S):
        await task


async def deliver_the_rest(app, url, crm):
    crm.gate.set()
    crm.says_fields.set()
    async with running(url, crm):
        await until(app, ALL_COMPLETE)


SILENT = pytest.mark.parametrize("silent", one_quick(["Postgres", "CRM", "Postgres and CRM"]))


@SILENT
@pytest.mark.parametrize("name", one_quick(BEFORE))
async def test_told_to_stop_at_any_statement_it_ends_and_the_next_one_delivers(app, url, crm, name, silent):
    await leave_behind(app)
    await app.execute(LINE_UP, "a", 5)
    async with Ambush(url) as proxy:
        proxy.statement, proxy.silences = mark(name), "Postgres" in silent
        daemon = daemon_for(proxy.url, crm, waits=PATIENT, shutdown_grace_s=0.2)
        task = asyncio.create_task(daemon.run())
        await asyncio.wait_for(proxy.seen.wait(), TIMEOUT_S)
        if "CRM" in silent:
            crm.gate.clear()
            crm.says_fields.clear()
        await stopped(daemon, task)
    await deliver_the_rest(app, url, crm)


@SILENT
@pytest.mark.parametrize("moment", one_quick(["asking for fields", "connecting", "delivering"]))
async def test_told_to_stop_at_any_request_it_ends_and_the_next_one_delivers(app, url, crm, moment, silent):
    await app.execute(LINE_UP, "a", 5)
    if moment == "asking for fields":
        crm.says_fields.clear()
    elif moment == "delivering":
        crm.gate.clear()
    async with Ambush(url) as proxy:
        if moment == "connecting" and "Postgres" in silent:
            proxy.black_hole()
        daemon = daemon_for(proxy.url, crm, waits=PATIENT, shutdown_grace_s=0.2)
        task = asyncio.create_task(daemon.run())
        if moment == "connecting":
            await asyncio.wait_for(proxy.attempted(1), TIMEOUT_S)
        else:
            await asyncio.wait_for(crm.asked.wait() if moment == "asking for fields" else crm.reached(2), TIMEOUT_S)
        if "Postgres" in silent:
            proxy.black_hole()
        if "CRM" not in silent:
            crm.gate.set()
            crm.says_fields.set()
        await stopped(daemon, task)
    await deliver_the_rest(app, url, crm)


async def test_told_to_stop_before_it_could_register_although_its_lane_is_open_it_ends(app, url, crm):
    async with app.transaction():
        await app.execute("LOCK TABLE crm_sync.workers IN SHARE MODE")
        daemon = daemon_for(url, crm, waits=PATIENT, shutdown_grace_s=0.2)
        task = asyncio.create_task(daemon.run())
        async with asyncio.timeout(TIMEOUT_S):
            while "brevo" not in daemon.in_flight:  # noqa: ASYNC110 (no event says that a lane is open)
                await asyncio.sleep(0.01)
        assert not daemon.session_up
        await stopped(daemon, task)


async def test_a_lane_that_cannot_stop_keeps_no_other_from_writing_its_outcomes(app, url, crm, monkeypatch):
    async def stop(lane: Lane, grace_s: float) -> None:
        if lane.crm == "hubspot":
            raise RuntimeError("a bug")
        await stops(lane, grace_s)

    stops = Lane.stop
    monkeypatch.setattr(Lane, "stop", stop)
    await app.execute(LINE_UP, "a", 1)
    accounts = {"brevo": account(crm), "hubspot": account(ScriptedCrm())}
    daemon = Daemon(configured(accounts, database_url=as_worker(url)))
    crm.gate.clear()
    with capture_logs() as log:
        async with driven(daemon):
            await asyncio.wait_for(crm.reached(1), TIMEOUT_S)
            daemon.stop.set()
            crm.gate.set()
    assert [entry["loop"] for entry in log if entry["event"] == events.LOOP_FAILED] == ["hubspot lane, stopping"]
    assert await app.fetchval(f"SELECT {ALL_COMPLETE}")
    assert await app.fetchval("SELECT count(*) FROM crm_sync.workers") == 1, (
        "another worker looks for what this one may have left"
    )


@slow
@pytest.mark.parametrize("name", AT_ITS_END)
async def test_a_postgres_that_falls_silent_at_its_last_words_holds_it_up_no_longer(app, url, crm, name):
    await app.execute(LINE_UP, "a", 5)
    async with Ambush(url) as proxy:
        daemon = daemon_for(proxy.url, crm, waits=PATIENT, shutdown_grace_s=0.2)
        task = asyncio.create_task(daemon.run())
        await until(app, ALL_COMPLETE)
        proxy.statement, proxy.silences = mark(name), True
        await stopped(daemon, task)
