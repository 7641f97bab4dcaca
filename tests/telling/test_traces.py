"""One flip, followed: from SET LOCAL in the application's transaction to the request to the CRM, and on to n8n."""

import asyncio
import sys
import threading
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from crm_sync import spans
from crm_sync.configuration import Configuration
from crm_sync.core.outcome import Outcome
from crm_sync.core.waits import USUAL
from crm_sync.daemon.daemon import Daemon
from crm_sync.environment import Environment
from crm_sync.errors import OutageError
from crm_sync.sandbox.brevo.sandbox import BrevoSandbox
from crm_sync.sandbox.n8n.sandbox import N8nSandbox
from crm_sync.sandbox.process import settings
from crm_sync.settings import Settings
from crm_sync.telling.traces import traces
from tests.commands.printed import tapped
from tests.harness import ALL_COMPLETE, ScriptedCrm, running, until, working
from tests.roles import as_worker
from tests.steps import insert
from tests.telling.collector import CLIENT, CONSUMER, ERROR, collecting

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"
COLUMN = "crm_sync_traceparent"


@pytest.fixture
async def collector(monkeypatch):
    async with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
        yield collector


@pytest.fixture
async def on(app):
    await app.execute("SELECT crm_sync.set_tracing(TRUE)")


async def flip(app, email, parent=PARENT, crm="brevo"):
    """In a transaction of the application that sets its trace."""
    async with app.transaction():
        await app.execute(f"SET LOCAL crm_sync.traceparent = '{parent}'")
        await app.execute(f"INSERT INTO contacts (email, first_name, {crm}_sync_status) VALUES ($1, 'Ada', 'Queued')", email)


@asynccontextmanager
async def delivering(url, monkeypatch, **sandboxes):
    """A worker that delivers to these."""
    for crm, sandbox in sandboxes.items():
        for name, value in settings(crm, sandbox.url).items():
            monkeypatch.setenv(name, value)
    async with working(Daemon(Configuration(Settings(database_url=as_worker(url)), Environment.capture()))):
        yield


async def test_a_flip_is_followed_to_the_request_and_on_to_n8n(app, url, on, collector, monkeypatch):
    n8n = N8nSandbox(port=0)
    heard = tapped(n8n)
    async with n8n, delivering(url, monkeypatch, n8n=n8n):
        await flip(app, "ada@example.com", crm="n8n")
        await until(app, "bool_and(n8n_sync_status = 'Complete') FROM contacts")
        await collector.until(lambda spans: len(spans) >= 2)
    [delivery] = [span for span in collector.spans if span.kind == CONSUMER]
    [request] = [span for span in collector.spans if span.kind == CLIENT]
    assert delivery.name == "upsert n8n"
    assert delivery.service == "crm-sync"
    assert delivery.links == [(TRACE, SPAN)]
    assert delivery.trace != TRACE
    assert (delivery.attributes["messaging.batch.message_count"], delivery.attributes["crm_sync.delivered"]) == (1, 1)
    assert (request.trace, request.parent) == (delivery.trace, delivery.id)
    assert request.name == "POST"
    assert request.attributes == {
        "http.request.method": "POST",
        "server.address": "127.0.0.1",
        "server.port": n8n.port,
        "http.response.status_code": 200,
    }
    [call] = [one for one in heard if one.method == "POST"]
    assert call.headers["traceparent"].startswith(f"00-{request.trace}-{request.id}-")


async def test_a_batch_has_a_link_for_each_transaction_and_other_crms_are_told_nothing(app, url, on, collector, monkeypatch):
    brevo = BrevoSandbox(contacts_per_second=None, contacts_per_hour=None, others_per_hour=None)
    heard = tapped(brevo)
    other = PARENT.replace("4bf9", "aaaa")
    async with brevo, delivering(url, monkeypatch, brevo=brevo):
        await flip(app, "ada@example.com")
        await flip(app, "eve@example.com", other)
        await flip(app, "bob@example.com", "no traceparent")
        await insert(app, "Queued", "without@example.com")
        await until(app, ALL_COMPLETE)
        await collector.until(lambda spans: sum(span.attributes.get("crm_sync.delivered", 0) for span in spans) == 4)
    linked = [trace for span in collector.spans for trace, _ in span.links]
    assert sorted(linked) == sorted([TRACE, other[3:35]])
    assert heard
    assert not any("traceparent" in {name.lower() for name in call.headers} for call in heard)


async def test_those_of_one_transaction_share_a_link(app, url, on, collector):
    crm = ScriptedCrm(batch_limit=50, concurrency=1)
    async with app.transaction():
        await app.execute(f"SET LOCAL crm_sync.traceparent = '{PARENT}'")
        await app.execute(
            "INSERT INTO contacts (email, brevo_sync_status) SELECT n || '@x.org', 'Queued' FROM generate_series(1, 50) n"
        )
    async with running(url, crm):
        await until(app, ALL_COMPLETE)
        await collector.until(bool)
    assert {tuple(span.links) for span in collector.spans} == {((TRACE, SPAN),)}


async def test_a_flip_that_the_database_makes_by_itself_belongs_to_the_transaction_that_changes_the_column(
    app, url, on, collector
):
    await app.execute("SELECT crm_sync.watch('brevo', '{first_name}')")
    contact = await insert(app, "Queued")
    async with running(url, ScriptedCrm()):
        await until(app, ALL_COMPLETE)
        async with app.transaction():
            await app.execute(f"SET LOCAL crm_sync.traceparent = '{PARENT}'")
            await app.execute("UPDATE contacts SET first_name = 'Eve' WHERE id = $1", contact)
        await collector.until(lambda spans: any(span.links for span in spans))
    assert [span.links for span in collector.spans] == [[], [(TRACE, SPAN)]]


async def test_one_that_is_flipped_again_in_flight_belongs_to_the_later_transaction_in_its_next_delivery(app, url, on, collector):
    crm = ScriptedCrm()
    crm.gate.clear()
    later = PARENT.replace("4bf9", "bbbb")
    async with running(url, crm):
        await flip(app, "ada@example.com")
        await crm.reached(1)
        async with app.transaction():
            await app.execute(f"SET LOCAL crm_sync.traceparent = '{later}'")
            await app.execute("UPDATE contacts SET brevo_sync_status = 'Queued'")
        crm.gate.set()
        await collector.until(lambda spans: len(spans) == 2)
    assert [span.links[0][0] for span in collector.spans] == [TRACE, later[3:35]]


async def test_a_later_flip_that_says_nothing_belongs_to_no_trace(app, url, on):
    await flip(app, "ada@example.com")
    assert await app.fetchval(f"SELECT {COLUMN} FROM contacts") == PARENT
    await app.execute("UPDATE contacts SET brevo_sync_status = 'Queued'")
    assert not await app.fetchval(f"SELECT {COLUMN} FROM contacts")


async def test_what_a_claim_a_finish_and_an_edit_write_leaves_it_as_it_was(app, url, on, collector):
    await flip(app, "ada@example.com")
    async with running(url, ScriptedCrm()):
        await until(app, ALL_COMPLETE)
    await app.execute("UPDATE contacts SET first_name = 'Eve'")
    assert await app.fetchval(f"SELECT {COLUMN} FROM contacts") == PARENT


async def test_a_delivery_that_fails_says_by_which_code_and_the_log_has_the_trace_of_the_flip(app, url, on, collector, logged):
    crm = ScriptedCrm()
    crm.answer = lambda _: Outcome.rejected("DUPLICATE", "the address ada@example.com is taken")
    async with running(url, crm):
        await flip(app, "ada@example.com")
        await until(app, "brevo_sync_status = 'Error' FROM contacts")
        await collector.until(bool)
    [span] = collector.spans
    assert (span.attributes["crm_sync.delivered"], span.attributes["crm_sync.failed"]) == (0, 1)
    [failed] = [entry for entry in logged if entry["event"] == "contact_failed"]
    assert failed["trace_id"] == TRACE
    assert await app.fetch("SELECT outcome, trace FROM crm_sync.deliveries") == [("rejected", TRACE)]


async def test_history_has_no_trace_of_a_flip_that_names_none(app, url, on):
    async with running(url, ScriptedCrm()):
        await flip(app, "bob@example.com", "no traceparent")
        await until(app, ALL_COMPLETE)
    assert await app.fetch("SELECT outcome, trace FROM crm_sync.deliveries") == [("delivered", None)]


async def test_so_does_one_of_which_nothing_is_known_and_no_word_of_the_crm_is_in_it(app, url, on, collector):
    crm = ScriptedCrm()

    def fail(_contact):
        raise OutageError("CRM_ERROR", "a secret of ada@example.com")

    crm.answer = fail
    async with running(url, crm):
        await flip(app, "ada@example.com")
        await collector.until(bool)
    span = collector.spans[0]
    assert (span.status, span.attributes["error.type"], span.events) == (ERROR, "CRM_ERROR", 0)
    assert not any(b"secret" in body or b"ada@" in body for body in collector.bodies)


async def test_keys_for_the_collector_go_in_headers(app, url, collector, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Basic%20a2V5, x-team=crm")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "contacts")
    async with running(url, ScriptedCrm()):
        await insert(app, "Queued")
        await collector.until(bool)
    assert collector.spans[0].service == "contacts"
    assert (collector.headers[0]["Authorization"], collector.headers[0]["x-team"]) == ("Basic a2V5", "crm")


async def test_without_a_collector_there_is_no_span_and_nothing_of_the_sdk_is_loaded(app, url, on):
    """In a separate worker."""
    code = "import sys, crm_sync.daemon.process; sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
    assert await process.wait() == 0
    async with running(url, ScriptedCrm()):
        await flip(app, "ada@example.com")
        await until(app, ALL_COMPLETE)


async def test_a_collector_that_fails_is_told_of_once_and_no_delivery_waits(app, url, collector, logged):
    collector.status = 400
    async with running(url, ScriptedCrm()):
        for number in range(5):
            await insert(app, "Queued", f"{number}@x.org")
            await collector.until(lambda spans, number=number: len(spans) > number)
        await until(app, ALL_COMPLETE)
    lost = [entry for entry in logged if entry["event"] == "traces_lost"]
    assert len(lost) == 1
    assert "400" in lost[0]["reason"]


async def test_one_that_does_not_answer_holds_up_a_stop_for_no_longer_than_its_grace(app, url, collector):
    collector.gate.clear()
    async with traces(Environment.capture(), replace(USUAL, traces_grace_s=0.05)):
        with spans.delivery("brevo", "upsert", []):
            pass
        await collector.until(bool)
    # It still runs, in a thread that does not outlive the process.
    [stopping] = [thread for thread in threading.enumerate() if thread.name == "traces-stop"]
    assert stopping.daemon
    assert not collector.gate.is_set()


@pytest.mark.parametrize(
    ("env", "reason"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"}, "OTEL_EXPORTER_OTLP_ENDPOINT: expected a URL"),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_EXPORTER_OTLP_HEADERS": "key=value"},
            "OTEL_EXPORTER_OTLP_ENDPOINT: expected https",
        ),
    ],
)
async def test_a_wrong_setting_is_told_and_stops_nothing(  # noqa: PLR0917
    app, url, logged, monkeypatch, env, reason
):
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    async with running(url, ScriptedCrm()):
        await insert(app, "Queued")
        await until(app, ALL_COMPLETE)
    [lost] = [entry for entry in logged if entry["event"] == "traces_lost"]
    assert reason in lost["reason"]


async def test_without_the_extra_it_says_how_to_install_it(app, url, logged, collector, monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    async with running(url, ScriptedCrm()):
        await insert(app, "Queued")
        await until(app, ALL_COMPLETE)
    [lost] = [entry for entry in logged if entry["event"] == "traces_lost"]
    assert "pip install 'crm-sync-worker[otel]'" in lost["reason"]
