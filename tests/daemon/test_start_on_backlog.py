"""A worker that starts on a backlog delivers first. Scans of the whole table would compete with it, and can wait for a moment."""

import pytest

from crm_sync.core.waits import Waits
from crm_sync.daemon.recovery import Recovery
from crm_sync.telling import snapshot
from tests.harness import ALL_COMPLETE, ScriptedCrm, running, until

IN_LINE = "INSERT INTO contacts (email, brevo_sync_status) SELECT n || '@example.com', 'Queued' FROM generate_series(1, 50) AS n"
SCANNED = (
    "EXISTS (SELECT FROM crm_sync.snapshot) "
    "AND EXISTS (SELECT FROM contacts WHERE email = 'stray@example.com' AND brevo_due_at IS NOT NULL)"
)


@pytest.fixture
async def backlog(app):
    """50 contacts in line, and one that no trigger saw: only a scan finds it."""
    await app.execute(IN_LINE)
    await app.execute("SET session_replication_role = replica")
    await app.execute("INSERT INTO contacts (email, brevo_sync_status) VALUES ('stray@example.com', 'Queued')")
    await app.execute("RESET session_replication_role")


@pytest.mark.usefixtures("backlog")
async def test_a_backlog_is_sent_before_the_table_is_scanned(app, url, monkeypatch):
    crm = ScriptedCrm(concurrency=1)
    sent_before = {}

    def noting(name, scan):
        async def scan_and_note(*arguments):
            sent_before.setdefault(name, len(crm.requests))
            return await scan(*arguments)

        return scan_and_note

    monkeypatch.setattr(Recovery, "look_over", noting("full look", Recovery.look_over))
    monkeypatch.setattr(snapshot, "count", noting("count", snapshot.count))
    async with running(url, crm):
        await until(app, ALL_COMPLETE)
        await until(app, "EXISTS (SELECT FROM crm_sync.snapshot)")
    assert sent_before.keys() == {"full look", "count"}
    assert min(sent_before.values()) > 40


@pytest.mark.usefixtures("backlog")
async def test_a_backlog_that_takes_long_does_not_keep_the_table_from_being_scanned(app, url):
    crm = ScriptedCrm(concurrency=1)
    crm.gate.clear()
    async with running(url, crm, waits=Waits(backlog_first_s=0.1)):
        await until(app, SCANNED)
        assert len(crm.requests) == 1
        crm.gate.set()
        await until(app, ALL_COMPLETE)


@pytest.mark.usefixtures("backlog")
async def test_without_a_backlog_that_can_be_sent_the_table_is_scanned_at_once(app, url):
    """The lane has found nothing to claim."""
    await app.execute("DELETE FROM contacts WHERE email <> 'stray@example.com'")
    async with running(url, ScriptedCrm(), waits=Waits(backlog_first_s=3600.0)):
        await until(app, ALL_COMPLETE)
        await until(app, "EXISTS (SELECT FROM crm_sync.snapshot)")
