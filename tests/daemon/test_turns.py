"""All lanes share one loop: whatever the contacts of one look like, the others get their turn soon."""

import asyncio
import time

import pytest

from crm_sync.core.outcome import Outcome
from crm_sync.core.waits import Waits
from crm_sync.daemon.daemon import Daemon
from tests.harness import TIMEOUT_S, ScriptedCrm, account, configured, until, until_asleep
from tests.roles import as_worker
from tests.tiers import slow

LONGEST_TURN_S = 1.0  # of CPU time, so that other load on the machine does not count: no lane waits longer for another
MB = 1_000_000
# Content that a form without limits accepts, flipped at HubSpot: long names, long addresses, and texts that are all different in
# every form.
STRANGE = {
    "names of some MB": ("n || '@example.com'", f"repeat(md5(n::text), {5 * MB // 32})", 10),
    "addresses of 200 kB": ("n || repeat(md5(n::text), 6250)", "'Ada'", 300),
    "many that are just short enough": ("n || '@example.com'", "repeat('\"<\\%', 1000)", 1000),
}


@pytest.fixture
def longest(monkeypatch):
    """The longest turn of the loop, in seconds of CPU time."""
    turns = [0.0]
    run = asyncio.Handle._run

    def measured(self):
        began = time.thread_time()
        run(self)
        turns[0] = max(turns[0], time.thread_time() - began)

    monkeypatch.setattr(asyncio.Handle, "_run", measured)
    return turns


@slow
@pytest.mark.parametrize(("email", "name", "count"), STRANGE.values(), ids=STRANGE)
async def test_no_lane_waits_more_than_a_second_for_another(app, url, longest, email, name, count):  # noqa: PLR0917
    strange, plain = ScriptedCrm(batch_limit=100), ScriptedCrm()
    strange.answer = lambda contact: Outcome.rejected("REJECTED", f"{contact.fields['FIRSTNAME'][:3000]} {contact.email[:3000]}?")
    daemon = Daemon(
        configured({"hubspot": account(strange), "brevo": account(plain)}, database_url=as_worker(url)), waits=Waits(tick_s=0.2)
    )
    task = asyncio.create_task(daemon.run())
    try:
        await until_asleep(app)
        longest[0] = 0.0  # the start does not count
        await app.execute(
            f"INSERT INTO contacts (email, first_name, hubspot_sync_status) SELECT {email}, {name}, 'Queued' "
            "FROM generate_series(1, $1::integer) AS n",
            count,
        )
        await app.execute("INSERT INTO contacts (email, brevo_sync_status) VALUES ('ada@example.com', 'Queued')")
        await until(app, "bool_and(brevo_sync_status = 'Complete') FROM contacts WHERE email = 'ada@example.com'")
        await until(app, f"count(*) = {count} FROM contacts WHERE hubspot_sync_status = 'Error'")
    finally:
        daemon.stop.set()
        async with asyncio.timeout(TIMEOUT_S):
            await task
    assert 0 < longest[0] < LONGEST_TURN_S
