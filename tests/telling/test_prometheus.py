"""Every alert rule in deploy/, on a real Prometheus that scrapes two workers: it fires for a real fault, and resolves when the
fault is healed. And every query of the dashboard, on the scraped data.

Durations are shortened (`tests.telling.prometheus.SHORTER`); promtool checks the real ones.
"""

import asyncio
import json
import re
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from pathlib import Path

import asyncpg
import pytest

from crm_sync.core.rate import Budget, parse
from crm_sync.sandbox.__main__ import UNLIMITED
from crm_sync.sandbox.postgres import free_port
from crm_sync.sandbox.process import CRMS, settings
from crm_sync.sandbox.server import Answer, Call, Fault, Sandbox
from crm_sync.telling.catalogue import CATALOGUE
from tests.harness import until
from tests.process import ended, environment, process
from tests.roles import WORKER
from tests.telling.away import away
from tests.telling.prometheus import DASHBOARD, MISSING, RULES, Labels, Prometheus, matches, running_prometheus
from tests.telling.scrape import answered, scraped
from tests.tiers import alone, slow

pytestmark = [slow, alone, pytest.mark.skipif(bool(MISSING), reason=MISSING)]

RULE_NAMES = re.findall(r"^ +- alert: (\w+)$", RULES.read_text(), re.MULTILINE)
# Nothing writes a history yet, so none of it can be lost.
WITHOUT_A_FAULT = {"CrmSyncHistoryDropped"}
HTML = {"Content-Type": "text/html"}
LIMITS = "1000/day"
GAP_S = 8.0  # the shortest of the real durations is a minute, and 3 s here


class Field:
    """The database, four CRMs, two workers, and Prometheus."""

    def __init__(self, url: str, app: asyncpg.Connection, other: asyncpg.Connection, sandboxes: dict[str, Sandbox]) -> None:
        self.url = url
        self.app = app
        self.other = other
        self.sandboxes = sandboxes
        self.addresses = [f"127.0.0.1:{free_port()}" for _ in range(2)]
        self.workers: list[asyncio.subprocess.Process] = []
        self.prometheus: Prometheus

    def environment(self, address: str) -> dict[str, str]:
        env = environment(self.url, METRICS_LISTEN=address, N8N_LIMITS=LIMITS, BREVO_SYNC_SCHEDULER_INTERVAL_MINUTES="0.05")
        for crm, sandbox in self.sandboxes.items():
            env |= settings(crm, sandbox.url)
        return env

    async def start(self, number: int) -> asyncio.subprocess.Process:
        worker = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.telling.quick_worker"),
            env={"PYTHONPATH": f"{Path.cwd() / 'worker'}:{Path.cwd()}", **self.environment(self.addresses[number])},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        await answered(self.addresses[number], "/readyz")
        return worker

    async def command(self, *arguments: str) -> None:
        """As the owner of the table."""
        async with process(environment(self.url, owner=True), *arguments) as command:
            code, out, err = await ended(command)
        assert code == 0, out + err

    async def flip(self, crm: str, contacts: int, mark: str) -> None:
        await self.app.execute(
            f"INSERT INTO contacts (email, first_name, {crm}_sync_status) "
            "SELECT $2 || n || '@example.com', $2, 'Queued' FROM generate_series(1, $1) AS n",
            contacts,
            mark,
        )

    async def use_up(self, crm: str, requests: int) -> None:
        """This many requests of the day, recorded as if workers and other programs had used them."""
        [window] = parse(LIMITS)
        now = (await self.app.fetchval("SELECT clock_timestamp()")).timestamp()
        budget = json.dumps(Budget().charged(window, {window.part(now): requests}).to_json())
        await self.app.execute(
            "INSERT INTO crm_sync.budgets (crm, budget) VALUES ($1, $2) ON CONFLICT (crm) DO UPDATE SET budget = excluded.budget",
            crm,
            budget,
        )

    @asynccontextmanager
    async def fault(self, crm: str, fault: Fault) -> AsyncIterator[None]:
        faults = self.sandboxes[crm].standing_faults
        faults.append(fault)
        yield
        faults.remove(fault)

    async def fires(self, *wanted: Labels) -> None:
        """Each at some time: one may be over before another begins."""
        missing = [*wanted]

        def all_seen(firing: Sequence[Labels]) -> bool:
            missing[:] = [one for one in missing if not any(matches(alert, one) for alert in firing)]
            return not missing

        await self.prometheus.until(all_seen, lambda: f"never fired: {missing}")

    async def resolves(self, *healed: Labels) -> None:
        await self.prometheus.until(
            lambda firing: not any(matches(alert, one) for alert in firing for one in healed), lambda: f"never resolved: {healed}"
        )


@pytest.fixture
async def field(url, app, other_app, tmp_path):
    async with AsyncExitStack() as stack:
        sandboxes = {crm: await stack.enter_async_context(UNLIMITED[crm](0)) for crm in CRMS}
        field = Field(url, app, other_app, sandboxes)
        try:
            field.workers = [await field.start(number) for number in range(2)]
            field.prometheus = await stack.enter_async_context(running_prometheus(tmp_path, field.addresses))
            yield field
        finally:
            for worker in field.workers:
                if worker.returncode is None:
                    worker.kill()
                await worker.wait()


def alert(name: str, **labels: str) -> Labels:
    return {"alertname": name, **labels}


def says(text: str):
    return lambda call: text in f"{call.path} {call.query} {call.body}"


def deletes(call: Call) -> bool:
    return call.method == "DELETE"


async def test_every_rule_fires_once_for_its_fault_and_resolves(field, tmp_path):
    await field.flip("mautic", 3, "gone")
    await field.flip("brevo", 3, "gone")
    await until(
        field.app, "count(*) FILTER (WHERE mautic_sync_status = 'Complete' OR brevo_sync_status = 'Complete') = 6 FROM contacts"
    )
    stories = [
        lanes_that_are_held_and_contacts_that_fail,
        contacts_that_wait_and_deletions,
        a_worker_that_is_late_and_one_that_fails,
        nobody_counts,
        the_database_is_away,
        a_worker_dies,
    ]
    expected = [one for story in stories for one in await story(field)]

    episodes = await fired(field.prometheus)
    assert {one["alertname"] for one in expected} == {*RULE_NAMES} - WITHOUT_A_FAULT
    for one in expected:
        found = {labels: count for labels, count in episodes.items() if matches(dict(labels), one)}
        assert found, one
        assert set(found.values()) == {1}, f"{one} did not fire once: {found}"
    others = [dict(labels) for labels in episodes if not any(matches(dict(labels), one) for one in expected)]
    assert others == [], "nothing else fired"
    await hold_the_names(field.prometheus)
    await hold_the_dashboard(field.prometheus)


async def lanes_that_are_held_and_contacts_that_fail(field: Field) -> Sequence[Labels]:
    refused = Fault(answer=Answer(401, {"status": "error", "category": "INVALID_AUTHENTICATION", "message": "no"}))
    rejected = Fault(says("rejected"), answer=Answer(400, {"code": "invalid_parameter", "message": "not this one"}))
    expected = [
        alert("CrmSyncCredentialsRefused", crm="hubspot", code="REFUSED"),
        alert("CrmSyncLaneDown", crm="hubspot"),
        alert("CrmSyncLaneMisconfigured", crm="n8n"),
        alert("CrmSyncLanePausedLong", crm="mautic"),
        alert("CrmSyncErrors", crm="brevo"),
        alert("CrmSyncNewCode", crm="brevo", code="REJECTED"),
        alert("CrmSyncStrays", crm="brevo"),
    ]
    await field.command("pause", "mautic", "--reason", "a test")
    await field.app.execute(f"REVOKE UPDATE (n8n_synced_at) ON contacts FROM {WORKER}")
    async with field.fault("hubspot", refused), field.fault("brevo", rejected):
        await field.flip("hubspot", 1, "hubspot")
        await field.flip("n8n", 1, "misconfigured")
        await field.flip("brevo", 60, "rejected")
        async with field.app.transaction():
            await field.app.execute("ALTER TABLE contacts DISABLE TRIGGER USER")
            await field.flip("brevo", 2, "stray")
            await field.app.execute("ALTER TABLE contacts ENABLE TRIGGER USER")
        await field.fires(*expected)
    await field.app.execute(f"GRANT UPDATE (n8n_synced_at) ON contacts TO {WORKER}")
    await field.command("resume", "mautic")
    await field.resolves(*expected)
    return expected


async def contacts_that_wait_and_deletions(field: Field) -> Sequence[Labels]:
    expected = [
        alert("CrmSyncOldestWaiting", crm="brevo"),
        alert("CrmSyncSilence", crm="brevo"),
        alert("CrmSyncDeletionsStuck", crm="mautic"),
        alert("CrmSyncDeletionsFailed", crm="brevo"),
        alert("CrmSyncLimitNearlyUsed", crm="n8n", window="1d"),
    ]
    for crm in ("mautic", "brevo"):
        await field.command("on-delete", crm, "delete")
    firewall = Fault(deletes, answer=Answer(403, b"<html>no</html>", HTML))
    no = Fault(deletes, answer=Answer(400, {"code": "invalid_parameter", "message": "not this one"}))
    async with field.fault("mautic", firewall), field.fault("brevo", no):
        await field.app.execute("DELETE FROM contacts WHERE first_name = 'gone'")
        await field.use_up("n8n", 950)
        # A row held by the application: flipped while the lane is paused, so that the application locks it first.
        await field.command("pause", "brevo", "--reason", "a test")
        await field.flip("brevo", 1, "held")
        async with field.other.transaction():
            await field.other.execute("SELECT FROM contacts WHERE first_name = 'held' FOR UPDATE")
            await field.command("resume", "brevo")
            await field.fires(*expected)
    await field.app.execute("UPDATE crm_sync.tombstones SET due_at = clock_timestamp() WHERE due_at IS NOT NULL")
    await field.app.execute("DELETE FROM crm_sync.tombstones WHERE crm = 'brevo'")
    await field.app.execute("DELETE FROM crm_sync.budgets WHERE crm = 'n8n'")
    await field.resolves(*expected)
    return expected


async def a_worker_that_is_late_and_one_that_fails(field: Field) -> Sequence[Labels]:
    late, failing = field.workers
    expected = [alert("CrmSyncEventLoopSlow", instance=field.addresses[0]), alert("CrmSyncLoopFailed", loop="breaker")]
    late.send_signal(signal.SIGSTOP)
    await asyncio.sleep(1.6)  # that is the fault
    late.send_signal(signal.SIGCONT)
    failing.send_signal(signal.SIGUSR1)
    await field.fires(*expected)
    await field.resolves(*expected)
    return expected


async def nobody_counts(field: Field) -> Sequence[Labels]:
    expected = [alert("CrmSyncCountsMissing")]
    await field.app.execute(f"REVOKE SELECT (held_reason) ON crm_sync.lanes FROM {WORKER}")
    await field.fires(*expected)
    await field.app.execute(f"GRANT SELECT (held_reason) ON crm_sync.lanes TO {WORKER}")
    await field.resolves(*expected)
    return expected


async def the_database_is_away(field: Field) -> Sequence[Labels]:
    expected = [alert("CrmSyncNoWorker"), *(alert("CrmSyncSessionLost", instance=address) for address in field.addresses)]
    # The application's second session is done, and would be interrupted.
    await field.other.close()
    async with away(field.url, field.app):
        await field.fires(*expected)
    await field.resolves(*expected)
    return expected


async def a_worker_dies(field: Field) -> Sequence[Labels]:
    expected = [alert("CrmSyncWorkerDown", instance=field.addresses[1])]
    field.workers[1].kill()
    await field.fires(*expected)
    # A backlog whose end only one worker can predict.
    await field.flip("mautic", 20, "backlog")
    await scraped(field.addresses[0], lambda scrape: scrape.value("contacts", crm="mautic", state="ready") == 0)
    field.workers[1] = await field.start(1)
    await field.resolves(*expected)
    return expected


async def fired(prometheus: Prometheus) -> dict[tuple[tuple[str, str], ...], int]:
    """How often each alert started to fire, by its labels. A short gap is a late scrape."""
    episodes: dict[tuple[tuple[str, str], ...], int] = {}
    for series in await prometheus.over_the_run('ALERTS{alertstate="firing"}'):
        labels = tuple(sorted((name, value) for name, value in series["metric"].items() if name != "__name__"))
        times = [time for time, _ in series["values"]]
        gaps = sum(later - earlier > GAP_S for earlier, later in pairwise(times))
        episodes[labels] = 1 + gaps
    return episodes


# Reported by one worker with a backlog of known pace, which lasts only a moment here (tests/telling/test_counts.py).
RARE = {"crm_sync_backlog_ends_timestamp_seconds"}


async def hold_the_names(prometheus: Prometheus) -> None:
    """Every metric in the catalogue was scraped, and no others of ours."""
    names = set(await prometheus.ask("label/__name__/values"))
    ours = {re.sub(r"_(bucket|sum|count)$", "", name) for name in names if name.startswith("crm_sync_")}
    catalogue = {metric.full_name for metric in CATALOGUE.values()}
    assert ours - catalogue == set()
    assert catalogue - ours - RARE == set()


EMPTY_HERE = {*RARE, "crm_sync_history_dropped_total"}


async def hold_the_dashboard(prometheus: Prometheus) -> None:
    """Every query of every panel is valid, and has an answer after everything that happened here."""
    dashboard = json.loads(DASHBOARD.read_text())
    queries = [(panel["title"], target["expr"]) for panel in dashboard["panels"] for target in panel.get("targets", ())]
    queries += [("annotations", note["expr"]) for note in dashboard["annotations"]["list"]]
    assert len(queries) > 40
    for title, expression in queries:
        for variable, value in (("$__rate_interval", "5s"), ("$job", ".*"), ("$crm", ".*")):
            expression = expression.replace(variable, value)  # noqa: PLW2901
        series = await prometheus.over_the_run(expression)
        assert series or any(name in expression for name in EMPTY_HERE), f"{title}: {expression}"
        for name, metric in re.findall(r"label_values\((\w+), (\w+)\)", json.dumps(dashboard["templating"])):
            assert await prometheus.over_the_run(f"count by ({metric}) ({name})")
