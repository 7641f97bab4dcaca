"""A CRM that closes connections kept by the worker: no worker waits for it, and it is not an outage."""

import pytest
from structlog.testing import capture_logs

from crm_sync import events
from tests.faults.real_crms import PEOPLE, complete, delivering
from tests.harness import until
from tests.keeping_server import GOOD, KeepingServer, end, reset

TROUBLE = (events.BREAKER_OPENED, events.CONTACT_FAILED, events.LOOP_FAILED)


@pytest.mark.parametrize("break_off", [end, reset])
async def test_a_server_that_breaks_the_second_request_of_each_connection_costs_no_contact_a_try(
    app, url, monkeypatch, break_off
):
    await app.execute(PEOPLE.format(crm="n8n"), 80)
    with capture_logs() as log:
        async with (
            KeepingServer(lambda _, request: GOOD if request == 1 else break_off) as server,
            delivering(url, monkeypatch, {"n8n": server.url}),
        ):
            await until(app, complete("n8n"))
    assert await app.fetchval("SELECT array_agg(DISTINCT (n8n_attempts, n8n_processing_error)) FROM contacts") == [(1, None)]
    assert not [entry for entry in log if entry["event"] in TROUBLE]
    assert sum(request == 1 for _, request in server.heard) == 80, "each was answered once"


async def test_bursts_at_a_server_whose_patience_ends_between_them_are_no_outage(app, url, monkeypatch):
    """Its connections close just as the next burst comes, when a worker cannot know it yet."""
    await app.execute(PEOPLE.format(crm="n8n"), 16)
    with capture_logs() as log:
        async with (
            KeepingServer(lambda _, request: GOOD if request % 2 else end) as server,
            delivering(url, monkeypatch, {"n8n": server.url}),
        ):
            for burst in range(5):
                await until(app, complete("n8n"))
                assert await app.fetchval("SELECT max(n8n_attempts) FROM contacts") == 1, burst
                await app.execute("UPDATE contacts SET n8n_sync_status = 'Queued'")
            await until(app, complete("n8n"))
    assert not [entry for entry in log if entry["event"] in TROUBLE]
