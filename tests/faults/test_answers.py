"""Answers that are not answers, truncated, or redirects: in none of the four CRMs do they make a contact Complete."""

import asyncio
import gzip

import pytest
from structlog.testing import capture_logs

from crm_sync import events
from crm_sync.core.waits import Waits
from crm_sync.sandbox.credentials import BREVO_KEY, HUBSPOT_TOKEN, MAUTIC_PASSWORD
from crm_sync.sandbox.process import CRMS
from crm_sync.sandbox.server import Answer, Fault
from tests.faults.front import Front, answer, fronts
from tests.faults.promise import said
from tests.faults.real_crms import PEOPLE, assert_delivered, assert_unharmed, complete, delivering, remote_id, sandboxes
from tests.harness import TIMEOUT_S, until
from tests.tiers import one_quick, slow

SHORT_PAUSES = Waits(first_probe_s=0.02, longest_probe_s=0.02)


@pytest.fixture
def quick_retries(monkeypatch):
    """A contact that an answer did not account for comes back at once."""
    for crm in CRMS:
        monkeypatch.setenv(f"{crm.upper()}_SYNC_RETRY_DELAY_MINUTES", "0.0002")
        monkeypatch.setenv(f"{crm.upper()}_SYNC_MAX_RETRIES", "100")


async def drip(writer):
    writer.write(answer(200, b"", "Content-Length: 1000000"))
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.005)


GOOD = b'{"id": 7, "status": "COMPLETE", "results": [], "contacts": {}, "execution_id": "7"}'
BROKEN = {
    "a page": answer(200, b"<!DOCTYPE html><html>Please log in</html>"),
    "NaN": answer(200, b'{"id": NaN}'),
    "deep JSON": answer(200, b"[" * 100_000 + b"]" * 100_000),
    "bad UTF-8": answer(200, b'{"id": "\xff\xfe"}'),
    "cut off by its length": answer(200, GOOD, f"Content-Length: {len(GOOD) + 1}"),
    "cut off in a chunk": answer(200, b"40\r\n" + GOOD[:20], "Transfer-Encoding: chunked"),
    "cut off before the last chunk": answer(200, b"%x\r\n%s\r\n" % (len(GOOD), GOOD), "Transfer-Encoding: chunked"),
    "cut off by the end": answer(200, GOOD[:-5]),
    "cut off in gzip": answer(200, gzip.compress(GOOD)[:-12], "Content-Encoding: gzip"),
    "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "dripping": drip,
}


# What may not be n8n's at all. Any other success means that the workflow ran.
NO_RUN = {"a page", "no HTTP"}


@pytest.mark.parametrize(
    ("crm", "says"),
    [
        pytest.param(crm, says, id=f"{crm}-{name}", marks=[slow] * (says is drip or crm != CRMS[0]))
        for crm in CRMS
        for name, says in BROKEN.items()
        if crm != "n8n" or name in NO_RUN
    ],
)
async def test_nobody_is_complete_by_a_broken_answer(app, url, monkeypatch, quick_retries, crm, says):  # noqa: PLR0917
    await app.execute(PEOPLE.format(crm=crm), 5)
    async with sandboxes(crm) as there, Front(there[crm].url, says) as front:
        async with delivering(url, monkeypatch, {crm: front.url}, waits=SHORT_PAUSES, timeout_s=0.3):
            await front.answered(6)
            states = await app.fetch(f"SELECT DISTINCT {crm}_sync_status, {crm}_synced_at, {remote_id(crm)} FROM contacts")
            assert {tuple(row) for row in states} <= {("Queued", None, None), ("Processing", None, None)}
            front.says = None
            await until(app, complete(crm))
        await assert_delivered(app, crm, there[crm], attempts=101)


@slow
@pytest.mark.parametrize("says", [pytest.param(says, id=name) for name, says in BROKEN.items() if name not in NO_RUN])
async def test_a_success_of_n8n_that_cannot_be_read_is_a_run_and_is_not_sent_again(app, url, monkeypatch, quick_retries, says):
    await app.execute(PEOPLE.format(crm="n8n"), 5)
    async with sandboxes("n8n") as there, Front(there["n8n"].url, says) as front:
        async with delivering(url, monkeypatch, {"n8n": front.url}, waits=SHORT_PAUSES, timeout_s=0.3):
            await until(app, complete("n8n"))
        assert len(front.heard) == 5


NOTHING = {
    "hubspot": {"status": "COMPLETE", "results": []},
    "brevo": {},
    "mautic": {"contacts": {}, "statusCodes": {}},
    "n8n": {"contacts": []},
}


@pytest.mark.parametrize("crm", one_quick(CRMS))
async def test_a_success_with_nothing_in_it_is_unknown_and_sent_again(app, url, monkeypatch, quick_retries, crm):
    """The CRM has applied what it does not account for."""
    await app.execute(PEOPLE.format(crm=crm), 5)
    async with sandboxes(crm) as there:
        empty = Fault(lambda call: call.method != "GET", applies=True, answer=Answer(201, NOTHING[crm]))
        there[crm].next_faults += [empty] * 2
        async with delivering(url, monkeypatch, {crm: there[crm].url}, waits=SHORT_PAUSES, N8N_BATCH_SIZE="5") as clients:
            await until(app, complete(crm))
        assert max(clients[crm].sent.values()) >= 2
        await assert_delivered(app, crm, there[crm], attempts=101)


@slow
@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_to_another_origin_takes_neither_key_nor_data_there(app, url, monkeypatch, quick_retries, status):
    """All four at once, each to a place where another server listens."""
    for crm in CRMS:
        await app.execute(PEOPLE.format(crm=crm).replace(".person", f".{crm}"), 5)
    async with sandboxes() as there, Front(there["brevo"].url, answer(200, GOOD)) as elsewhere:
        away = answer(status, b"", f"Location: {elsewhere.url}/stolen", "Content-Length: 0")
        async with fronts(there, away) as before:
            with capture_logs() as log:
                async with delivering(url, monkeypatch, {crm: front.url for crm, front in before.items()}, waits=SHORT_PAUSES):
                    for crm, front in before.items():
                        await front.answered(3)
                        async with asyncio.timeout(TIMEOUT_S):
                            while not any(e["event"] == events.BREAKER_OPENED and e["crm"] == crm for e in log):  # noqa: ASYNC110
                                await asyncio.sleep(0.005)
                        assert any(entry.get("code") == "REDIRECTED" and entry["crm"] == crm for entry in log)
                    marks = " + ".join(f"count({crm}_processing_error)" for crm in CRMS)
                    assert await app.fetchval(f"SELECT {marks} FROM contacts") == 0
                    for front in before.values():
                        front.says = None
                    await until(app, " AND ".join(f"count(*) FILTER (WHERE {crm}_sync_status = 'Complete') = 5" for crm in CRMS)
                                + " FROM contacts")  # fmt: skip
        assert elsewhere.heard == []


@pytest.mark.parametrize("crm", one_quick(CRMS))
async def test_no_key_is_in_what_the_worker_says_of_broken_answers(app, url, monkeypatch, quick_retries, crm):
    """I7: the answer quotes the whole request."""
    await app.execute(PEOPLE.format(crm=crm), 3)
    async with sandboxes(crm) as there, Front(there[crm].url, b"") as front:

        async def quote(writer):
            writer.write(answer(500, front.heard[-1]))

        front.says = quote
        with capture_logs() as log:
            async with delivering(url, monkeypatch, {crm: front.url}, waits=SHORT_PAUSES):
                await said(log, events.BREAKER_OPENED)
        await assert_unharmed(app, crm)
    told = str(log)
    for secret in (BREVO_KEY, HUBSPOT_TOKEN, MAUTIC_PASSWORD, "person@example.com"):
        assert secret not in told
