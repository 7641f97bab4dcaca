"""What is counted for contacts that fail: failures, not contacts; with a code everywhere, even if a client gives none."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from click.testing import CliRunner
from prometheus_client import CollectorRegistry, generate_latest

from crm_sync.cli import crm_sync
from crm_sync.core.alert import Condition, how_many
from crm_sync.core.outcome import Outcome, Verdict
from crm_sync.telling.metrics import Metrics
from tests.harness import ScriptedCrm, until
from tests.roles import as_worker
from tests.steps import insert
from tests.telling.scrape import Scrape
from tests.telling.test_alert_conditions import alerting


@pytest.fixture
def counting():
    """What a scrape would return."""
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    metrics.listen()
    yield lambda: Scrape.of(generate_latest(registry).decode())
    metrics.cease()


@pytest.fixture
def crm(monkeypatch):
    """For a worker that tries a contact once more, after some milliseconds."""
    monkeypatch.setenv("BREVO_SYNC_MAX_RETRIES", "1")
    monkeypatch.setenv("BREVO_SYNC_RETRY_DELAY_MINUTES", "0.0002")
    return ScriptedCrm()


async def test_one_contact_that_fails_twice_is_two_failures(app, url, crm, webhook, logged):
    crm.answer = lambda _: Outcome.failed("LOCKED", "somebody has it")
    async with alerting(url, crm):
        await insert(app, "Queued")
        await until(app, "bool_and(brevo_sync_status = 'Error') FROM contacts")
        await webhook.message("NEW_CODE")
        await until(app, "contacts = 2 FROM crm_sync.alerts WHERE condition = 'NEW_CODE'")
    assert webhook.messages()[0]["counted"] == "failures with this code"


@pytest.mark.parametrize("code", [None, "", "Bad request"])
async def test_a_failure_without_a_code_is_counted_alike_everywhere(app, url, crm, webhook, counting, logged, code):  # noqa: PLR0917
    crm.answer = lambda _: Outcome(Verdict.FAILED, code, "it is closed")
    async with alerting(url, crm):
        contact = await insert(app, "Queued")
        await until(app, "bool_and(brevo_sync_status = 'Error') FROM contacts")
        assert (await webhook.message("NEW_CODE"))["code"] == "NO_CODE"
        await until(app, "coalesce(sum(contacts), 0) = 2 FROM crm_sync.errors_by_code WHERE code = 'NO_CODE'")
        scrape = counting()
    assert scrape.value("contact_errors_total", crm="brevo", code="NO_CODE") == 2
    assert scrape.total("contact_errors_total", crm="brevo") == 2
    reason = ": ".join(filter(None, (code, "it is closed")))
    lines = await app.fetch("SELECT outcome, code, reason FROM crm_sync.deliveries ORDER BY at")
    assert [tuple(line) for line in lines] == [("retry", "NO_CODE", reason), ("rejected", "NO_CODE", reason)]
    assert await app.fetchval("SELECT brevo_processing_error FROM contacts") == f"NO_CODE: {reason}"
    assert [event["error"] for event in logged if event["event"] == "contact_failed"] == [f"NO_CODE: {reason}"] * 2
    assert contact is not None


async def run(url, *arguments):
    """In a thread, because a command runs its own event loop."""
    with ThreadPoolExecutor(1) as thread:
        env = {"DATABASE_URL": as_worker(url), "COLUMNS": "200"}
        answer = await asyncio.wrap_future(thread.submit(CliRunner().invoke, crm_sync, arguments, env=env))
    assert answer.exit_code == 0, (answer.output, answer.exception)
    return answer.output


async def test_failed_lists_what_begins_with_no_code_whoever_wrote_it(app, url):
    for error in ("NO_CODE: it is closed", "Something went wrong", "TIMEOUT: slow"):
        await app.execute(
            "INSERT INTO contacts (email, brevo_sync_status, brevo_processing_status, brevo_processing_error) "
            "VALUES ($1, 'Error', 'Error', $2)",
            f"{len(error)}@x.org",
            error,
        )
    found = json.loads(await run(url, "failed", "--crm", "brevo", "--code", "no_code", "--json"))["failed"]
    assert len(found) == 2
    said = await run(url, "retry", "--crm", "brevo", "--code", "NO_CODE", "--preview")
    assert "2 contacts would go out" in said
    assert said.count("NO_CODE ") == 1


def test_what_no_code_means_is_explained():
    assert "it failed without a failure code" in CliRunner().invoke(crm_sync, ["errors", "no_code"]).output


@pytest.mark.parametrize("condition", Condition)
def test_one_is_counted_in_the_singular(condition):
    one, two = how_many(condition, 1), how_many(condition, 2)
    assert one.split()[1] + "s" == two.split()[1]
    assert one.split()[2:] == two.split()[2:]
