"""`python -m tests.chaos --seed 7 --minutes 2`: breaks everything for a while, heals it, and checks the promises."""

import asyncio
import secrets
import signal
import sys
import time

import asyncpg
import click
import uvloop
from rich.console import Console

from crm_sync.sandbox.process import CRMS
from tests.chaos import audit
from tests.chaos.application import AWAY
from tests.chaos.checks import Evidence, Sums, Violation, leaks, violations
from tests.chaos.plan import Faults
from tests.chaos.report import WIDTH, Run, show
from tests.chaos.silence import Listener, recoveries
from tests.chaos.stage import Stage, staged

SETTLE_LIMIT_S = 150.0
OPEN = " OR ".join(
    f"{crm}_due_at IS NOT NULL OR {crm}_claimed_by IS NOT NULL OR {crm}_sync_status IN ('Queued', 'Processing')" for crm in CRMS
)
ERRORS = " + ".join(f"count(*) FILTER (WHERE {crm}_sync_status = 'Error')" for crm in CRMS)
TEXTS = ", ".join(f"{crm}_processing_error" for crm in CRMS)


async def chaos(seed: int, minutes: float, console: Console) -> bool:
    """Whether the promises were kept."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, _cancel(asyncio.current_task()))
    async with staged(seed) as stage:
        console.print(f"seed {seed}, {minutes:g} minutes, {len(stage.workers)} workers, {len(stage.crms)} CRMs", highlight=False)
        listener, faults = Listener(stage), Faults(stage)
        healed_at = await _break(stage, faults, listener, minutes * 60)
        run = await _judge(stage, faults, listener, minutes, healed_at)
        stage.keeps_logs = bool(run.violations)
    show(run, console)
    return not run.violations


async def _break(stage: Stage, faults: Faults, listener: Listener, lasts_s: float) -> float:
    """Returns when everything was healed, in seconds of the monotonic clock. The applications' last steps may end later."""
    listening = asyncio.create_task(listener.run())
    try:
        async with asyncio.TaskGroup() as group:
            for application in stage.applications():
                group.create_task(application.run(faults.over))
            await faults.run(lasts_s)
            healed_at = time.monotonic()
    finally:
        listening.cancel()
    return healed_at


async def _judge(stage: Stage, faults: Faults, listener: Listener, minutes: float, healed_at: float) -> Run:
    settled_s = await _settled(stage, healed_at)
    evidence = await _evidence(stage, listener.lag_s)
    sums = Sums()
    found = [*violations(evidence, sums), *await _of_the_run(stage, faults)]
    errors, again_s = await _send_errors_again(stage)
    if settled_s is None or again_s is None:
        found.append(Violation("I1", f"it is not settled {SETTLE_LIMIT_S:g} s after everything was healed"))
    workers = {f"worker {worker.number}": worker.ids() for worker in stage.workers}
    arrivals = {crm: sandbox.arrivals for crm, sandbox in stage.crms.items()}
    return Run(
        seed=stage.seed,
        minutes=minutes,
        ledger=stage.ledger,
        evidence=evidence,
        sums=sums,
        violations=found,
        happened=faults.happened,
        recoveries=recoveries(faults.happened, arrivals, evidence.claims, workers),
        silences=listener.longest,
        requests={crm: (len(sandbox.arrivals), sandbox.failed_requests) for crm, sandbox in stage.crms.items()},
        settled_s=settled_s,
        again_s=again_s,
        errors=errors,
        lag_s=listener.lag_s,
        folder=stage.folder,
    )


async def _settled(stage: Stage, started: float) -> float | None:
    """Seconds until nothing is in line or in flight any more, None if that takes too long."""
    while time.monotonic() - started < SETTLE_LIMIT_S:
        try:
            async with stage.application() as app:
                while time.monotonic() - started < SETTLE_LIMIT_S:
                    if not await app.fetchval(f"SELECT EXISTS (SELECT FROM contacts WHERE {OPEN})"):
                        return time.monotonic() - started
                    await asyncio.sleep(0.1)
        except (*AWAY, asyncpg.PostgresError):
            await asyncio.sleep(0.1)
    return None


async def _evidence(stage: Stage, lag_s: float) -> Evidence:
    async with stage.application() as app:
        rows = {row["id"]: row for row in await app.fetch("SELECT * FROM contacts")}
        claims, worker_flips = await audit.read(app), await audit.read_flips(app)
        lines = await audit.read_lines(app)
    records = {crm: sandbox.records() for crm, sandbox in stage.crms.items()}
    sends = [send for sandbox in stage.crms.values() for send in sandbox.sends]
    last_names = {crm: sandbox.last_names() for crm, sandbox in stage.crms.items()}
    return Evidence(stage.ledger.contacts, rows, sends, claims, records, stage.crashes, lag_s, worker_flips, lines, last_names)


async def _send_errors_again(stage: Stage) -> tuple[int, float | None]:
    """How many were in Error, and after how many seconds they had an answer again."""
    async with stage.application() as app:
        errors = await app.fetchval(f"SELECT {ERRORS} FROM contacts")
        for crm in CRMS:
            await app.execute(f"UPDATE contacts SET {crm}_sync_status = 'Queued' WHERE {crm}_sync_status = 'Error'")
    return errors, await _settled(stage, time.monotonic())


async def _of_the_run(stage: Stage, faults: Faults) -> list[Violation]:
    """Violations that are not about a contact."""
    ledger = stage.ledger
    found = [Violation("harness", text) for text in faults.failed]
    found += [Violation("I4", text) for text in ledger.surprises]
    found += [Violation("I4", f"an application was a deadlock's victim: {text}") for text in ledger.deadlocks]
    for worker in stage.workers:
        found += [
            Violation("running", f"worker {worker.number} ended by itself with code {code}", at=at)
            for at, code in worker.ended_by_itself
        ]
        with worker.log.open(errors="replace") as lines:
            found += leaks(f"the log of worker {worker.number}", lines)
        with worker.log.open(errors="replace") as lines:
            found += [
                Violation("running", f"worker {worker.number}: {line.strip()[-300:]}")
                for line in lines
                if '"loop_failed"' in line
            ]
    async with stage.application() as app:
        rows = await app.fetch(f"SELECT concat_ws(' ', {TEXTS}) AS text FROM contacts")
    found += leaks("an error column", (row["text"] for row in rows))
    return found


def _cancel(task: asyncio.Task[bool] | None):
    return lambda: task is not None and task.cancel()


@click.command()
@click.option("--seed", type=int, help="Of the faults and of the applications' steps. Without one it is drawn, and shown.")
@click.option("--minutes", default=2.0, show_default=True, type=click.FloatRange(0.1, 600), help="Before everything is healed.")
def main(*, seed: int | None, minutes: float) -> None:
    """Several workers, four CRMs, eight applications, and faults in a seeded random order; then I1 to I10 are checked.

    The same seed makes the same faults and steps in the same order. Exactly when each strikes depends on the machine.
    """
    console = Console(width=WIDTH)
    try:
        well = uvloop.run(chaos(secrets.randbelow(1_000_000) if seed is None else seed, minutes, console))
    except (KeyboardInterrupt, asyncio.CancelledError):
        console.print("Ended before its time.")
        sys.exit(130)
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main()
