"""The clock of the worker's machine is wrong, or jumps: nothing comes early or late, because the database's clock decides."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from crm_sync import events
from crm_sync.core.waits import Waits
from crm_sync.sandbox.server import Answer, Fault, is_about_contacts
from tests.faults.promise import Stopwatch, said
from tests.faults.real_crms import complete
from tests.faults.real_worker import assert_kept, working
from tests.harness import ScriptedCrm, running, until, until_asleep
from tests.process import environment
from tests.steps import insert, make_due
from tests.tiers import slow

LIBRARY = next(iter(sorted(Path("/usr/lib").glob("**/faketime/libfaketimeMT.so.1"))), None)
PAUSE_S = 3.0
ALL = complete("brevo")

with_faketime = pytest.mark.skipif(LIBRARY is None, reason="faketime is not installed")


class Clock:
    """The wall clock of a machine, separate from the real one. Its monotonic clock is unaffected, as in reality."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self.jump("+0")

    @property
    def settings(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def jump(self, offset: str) -> None:
        """To this offset from the right time, such as -1d. At once: the file is read all the time."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{offset}\n")
        new.rename(self._file)


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path)


def throttled(**headers: str) -> Answer:
    return Answer(429, {"code": "too_many_requests", "message": "too many"}, {k.replace("_", "-"): v for k, v in headers.items()})


OFFSETS = pytest.mark.parametrize("offset", ["-1d", "+1d"])


@OFFSETS
@with_faketime
@slow
async def test_a_jump_while_it_runs_makes_nothing_early_and_nothing_late(app, url, brevo, clock, offset):
    """The time in the log shows that the jump took place."""
    later = await insert(app, "Queued", "later@example.com")
    await make_due(app, later, in_s=3600)
    async with working(environment(url, brevo, **clock.settings)) as worker:
        await worker.opened()
        await until_asleep(app)
        async with app.transaction():
            retried = await insert(app, "Queued", "retried@example.com")
            due = await make_due(app, retried, in_s=2)
        clock.jump(offset)
        stopwatch = Stopwatch()
        await insert(app, "Queued", "fresh@example.com")
        await until(app, f"{ALL} WHERE email = 'fresh@example.com'")
        fresh_s = stopwatch.tell(f"clock {offset}, a fresh flip")
        await until(app, f"{ALL} WHERE id = $1", retried)
        synced = await app.fetchval("SELECT brevo_synced_at FROM contacts WHERE id = $1", retried)
        late_s = (synced - due).total_seconds()
        print(f"clock {offset}, a contact due in 2 s: {late_s:.3f} s after its time")
        times = {entry["timestamp"][:10] for entry in worker.log}
        assert await app.fetchval("SELECT brevo_sync_status::text FROM contacts WHERE id = $1", later) == "Queued"
    assert len(times) == 2, "the clock jumped"
    assert fresh_s < 2
    assert 0 <= late_s < 1
    assert sorted(contact.email for contact in brevo.contacts.values()) == ["fresh@example.com", "retried@example.com"]


@OFFSETS
@with_faketime
@pytest.mark.parametrize("pace", ["none", "50/s"], ids=["without a limit", "with one"])
@slow
async def test_a_pause_that_a_crm_asked_for_is_kept_whatever_the_clock_does(app, url, brevo, clock, offset, pace):  # noqa: PLR0917
    """By all workers, including those that start later."""
    env = environment(url, brevo, **clock.settings, BREVO_LIMITS=pace)
    brevo.next_faults.append(Fault(answer=throttled(x_sib_ratelimit_reset=f"{PAUSE_S:.0f}")))
    async with working(env) as worker:
        await worker.opened()
        await until_asleep(app)
        await insert(app, "Queued")
        await said(worker.log, events.LANE_PAUSED)
        clock.jump(offset)
        await until(app, ALL)
    first, second = [request.monotonic_s for request in brevo.requests if is_about_contacts(request)][:2]
    print(f"\nclock {offset}, a pause of {PAUSE_S:.0f} s: {second - first:.2f} s")
    assert PAUSE_S <= second - first < PAUSE_S + 2
    await assert_kept(app, "brevo", brevo, twice=1, attempts=2, logs=[worker.log])


FROM_THE_FUTURE = (
    "UPDATE contacts SET brevo_due_at = clock_timestamp() + interval '1 hour', "
    "brevo_flipped_at = clock_timestamp() + interval '1 hour'"
)


async def test_what_was_flipped_before_the_database_clock_was_set_back_goes_at_once(app, url):
    """Its due time is in the future. A contact waiting for a retry keeps waiting."""
    crm = ScriptedCrm()
    with capture_logs() as log:
        async with running(url, crm, waits=Waits(tick_s=0.1)) as worker:
            await until_asleep(app)
            await worker._wiring.lanes["brevo"].stop(0)  # nothing is claimed before the clock is changed
            flipped = await insert(app, "Queued")
            waiting = await insert(app, "Queued", "bob@example.com")
            await app.execute(FROM_THE_FUTURE)
            await app.execute("UPDATE contacts SET brevo_flipped_at = now() - interval '1 h' WHERE id = $1", waiting)
            worker._wiring.session._look._ahead_s += 3600.0
            await until(app, "brevo_due_at <= now() FROM contacts WHERE id = $1", flipped)
    assert await app.fetchval("SELECT brevo_due_at > now() FROM contacts WHERE id = $1", waiting)
    assert [entry["event"] for entry in log].count(events.CLOCK_SET_BACK) == 1


async def test_a_worker_that_starts_after_that_delivers_it(app, url):
    crm = ScriptedCrm()
    contact = await insert(app, "Queued")
    await app.execute(FROM_THE_FUTURE)
    async with running(url, crm, waits=Waits(tick_s=3600.0)):
        await until(app, "brevo_sync_status = 'Complete' FROM contacts WHERE id = $1", contact)
