"""What is printed: the progress on a screen, and everything around a broken promise."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from crm_sync.sandbox.process import CRMS
from tests.chaos.audit import Claims
from tests.chaos.checks import Evidence, Sums, Violation
from tests.chaos.crms import Send
from tests.chaos.ledger import Ledger
from tests.chaos.plan import Happened
from tests.chaos.silence import Silence, median

WIDTH = 100
MOST_VIOLATIONS = 12
AROUND_S = 6.0
MOST_LINES = 30


@dataclass
class Run:
    """settled_s: from when all was well until the last contact was done; again_s: the same for those in Error, sent once more.
    None: never.
    """

    seed: int
    minutes: float
    ledger: Ledger
    evidence: Evidence
    sums: Sums
    violations: Sequence[Violation]
    happened: Sequence[Happened]
    recoveries: Mapping[str, Sequence[float]]
    silences: Mapping[str, Silence]
    requests: Mapping[str, tuple[int, int]]  # all, and those that failed
    settled_s: float | None
    again_s: float | None
    errors: int
    lag_s: float
    folder: Path


def show(run: Run, console: Console) -> None:
    console.print(_what_happened(run))
    console.print(_faults(run))
    console.print(_crms(run))
    _tell(run, console)


def _what_happened(run: Run) -> Table:
    table = Table("applications", title_justify="left")
    table.add_column("committed", justify="right")
    for what, count in sorted(run.ledger.transactions.items(), key=lambda item: -item[1]):
        table.add_row(what, f"{count:,}")
    table.add_row("answers to COMMIT lost, looked up", f"{run.ledger.in_doubt:,}")
    return table


def _faults(run: Run) -> Table:
    counts = Counter(fault.kind for fault in run.happened)
    table = Table(f"{sum(counts.values())} faults", title_justify="left")
    for column in ("times", "alive again, median s", "longest s"):
        table.add_column(column, justify="right")
    for kind in sorted(counts):
        times = run.recoveries.get(kind, [])
        table.add_row(kind, str(counts[kind]), f"{median(times):.2f}", f"{max(times, default=0.0):.2f}")
    return table


def _crms(run: Run) -> Table:
    table = Table("CRMs", *CRMS, title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    sends, flips = Counter(send.crm for send in run.evidence.sends), Counter[str]()
    for contact in run.evidence.contacts.values():
        flips.update(contact.flips)
    delivered = {
        crm: sum(claim.end == 1 for (name, _), those in run.evidence.claims.items() if name == crm for claim in those)
        for crm in CRMS
    }
    table.add_row("flips committed", *(f"{flips[crm]:,}" for crm in CRMS))
    table.add_row("deliveries", *(f"{delivered[crm]:,}" for crm in CRMS))
    table.add_row("contacts sent", *(f"{sends[crm]:,}" for crm in CRMS))
    table.add_row("sent more often than flipped", *(f"{run.sums.repeats[crm]:,}" for crm in CRMS))
    table.add_row("records", *(f"{len(run.evidence.records[crm]):,}" for crm in CRMS))
    table.add_row("requests", *(f"{run.requests[crm][0]:,}" for crm in CRMS))
    table.add_row("requests that failed", *(f"{run.requests[crm][1]:,}" for crm in CRMS))
    table.add_row("longest silence with work, s", *(f"{run.silences[crm].lasted_s:.1f}" for crm in CRMS))
    return table


def _tell(run: Run, console: Console) -> None:
    sums, contacts = run.sums, run.evidence.contacts
    settled = "never" if run.settled_s is None else f"{run.settled_s:.1f} s"
    console.print(
        f"{len(contacts):,} contacts, {sums.flips:,} flips, {sums.sends:,} sends. Healed, all was settled after: {settled}"
    )
    again = "not settled" if run.again_s is None else f"settled after {run.again_s:.1f} s"
    console.print(f"{run.errors:,} contacts in Error were counted and sent again: {again}")
    console.print(
        f"I8: {sums.flips:,} flips and {sums.allowed:,} repeats that faults explain allow {sums.flips + sums.allowed:,} sends; "
        f"{sums.let_pass:,} of them were let pass after a crash of the server"
    )
    for crm, silence in run.silences.items():
        around = sorted(
            {
                fault.kind
                for fault in run.happened
                if fault.began < silence.ended and fault.healed > silence.ended - silence.lasted_s - 3
            }
        )
        console.print(f"{crm} was silent for {silence.lasted_s:.1f} s amid: {', '.join(around) or 'nothing'}", highlight=False)
    if run.lag_s > 1:
        console.print(f"[yellow]This machine was short of time: this program itself was up to {run.lag_s:.1f} s late.[/]")
    console.print(f"Again: make chaos SEED={run.seed} MINUTES={run.minutes:g}", highlight=False)
    if not run.violations:
        console.print("[green]I1 to I10 hold.[/]")
        return
    by_promise = Counter(violation.promise for violation in run.violations)
    console.print(f"[red]Broken: {', '.join(f'{promise} {count} times' for promise, count in sorted(by_promise.items()))}[/]")
    for violation in _some(run.violations):
        _tell_violation(run, violation, console)
    console.print(f"The workers' logs: {run.folder}", soft_wrap=True)


def _some(violations: Sequence[Violation]) -> list[Violation]:
    """A few for each promise."""
    chosen: list[Violation] = []
    for promise in sorted({violation.promise for violation in violations}):
        chosen += [violation for violation in violations if violation.promise == promise][:MOST_VIOLATIONS]
    return chosen


def _tell_violation(run: Run, violation: Violation, console: Console) -> None:
    who = "" if violation.contact is None else f"contact {violation.contact} "
    where = "" if violation.crm is None else f"at {violation.crm} "
    console.print(f"[red]{violation.promise}[/] {who}{where}{violation.text}", highlight=False)
    contact = next((one for one in run.evidence.contacts.values() if one.number == violation.contact), None)
    if contact is None or violation.crm is None:
        return
    console.print(
        f"   row {contact.id}, version {contact.version}, flipped with version {contact.flipped[violation.crm]}", highlight=False
    )
    sends = [send for send in run.evidence.sends if send.number == contact.number and send.crm == violation.crm]
    at = violation.at if violation.at is not None else sends[-1].at if sends else None
    if at is None:
        return
    lines = _story(sends, run.evidence.claims, contact.id, violation.crm)
    lines += [
        (time, f"{fault.kind}: {fault.target} {verb}")
        for fault in run.happened
        for time, verb in ((fault.began, "began"), (fault.healed, "healed"))
        if fault.target not in CRMS or fault.target == violation.crm
    ]
    near = sorted(line for line in lines if abs(line[0] - at) < AROUND_S)
    for time, text in near[:MOST_LINES]:
        console.print(f"   {datetime.fromtimestamp(time, UTC):%H:%M:%S.%f}  {text}", highlight=False, markup=False)


def _story(sends: Sequence[Send], claims: Claims, contact: object, crm: str) -> list[tuple[float, str]]:
    lines = [(send.at, f"> sent version {send.version}{', which failed' if send.failed else ''}") for send in sends]
    for claim in claims.get((crm, contact), ()):
        lines.append((claim.began, f"> claimed by worker id {claim.worker}, token {claim.token & 0xFFFFFFFF}"))
        if claim.ended is not None and claim.end is not None:
            lines.append((claim.ended, f"> claim {claim.token & 0xFFFFFFFF} ended, {claim.end.name.lower()}"))
    return lines
