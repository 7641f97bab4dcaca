"""What each page costs Postgres: `python -m tests.console.costs` prints the table of docs/how-to/console.md.

Statements are counted, and so is the CPU time of the console's backends according to the kernel, whatever else the machine does.
A query shared by all viewers counts in full. Only the named index finds an address.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from crm_sync import measurements
from crm_sync.measurements import Measurement, Statement
from crm_sync.postgres.pool import Database
from crm_sync.sandbox.postgres import running_postgres
from crm_sync.telling.snapshot import count
from tests.console.running import Visit, visiting
from tests.roles import adopt

SIZES = (10_000, 1_000_000)
ASKS_S = 2.0  # as in console.js
TAB_S = 60.0
TIMES = 3  # each page; the median is reported
PATIENCE_S = 600.0
BACKENDS = (
    "SELECT pid FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
)
KEY = "SELECT id FROM contacts WHERE email = 'person.17@example.com'"

# One in 20 failed, one in 50 is in line, and the rest is delivered, different ones in each CRM.
PEOPLE = """
    INSERT INTO contacts (
        email, first_name, {columns}
    )
    SELECT
        'person.' || n || '@example.com',
        'Ada',
        {values}
    FROM generate_series(1, $1::integer) AS n
"""
COLUMNS = ("sync_status", "processing_status", "processing_error", "due_at", "flipped_at", "synced_at")
VALUES = """
    (CASE WHEN m.i % 20 = 0 THEN 'Error' WHEN m.i % 50 = 1 THEN 'Queued' ELSE 'Complete' END)::{crm}_sync_type,
    (CASE WHEN m.i % 20 = 0 THEN 'Error' WHEN m.i % 50 = 1 THEN 'Queued' ELSE 'Complete' END)::{crm}_processing_type,
    CASE WHEN m.i % 20 = 0 THEN (ARRAY['REJECTED', 'DUPLICATE', 'INVALID_EMAIL', 'TIMEOUT'])[1 + m.i / 20 % 4] || ': no' END,
    CASE WHEN m.i % 50 = 1 AND m.i % 20 <> 0 THEN now() - make_interval(secs => m.i % 3600) END,
    now() - interval '2 hours',
    CASE WHEN m.i % 20 <> 0 AND m.i % 50 <> 1 THEN now() - interval '1 hour' END
"""
TYPES = "SELECT attname, format_type(atttypid, atttypmod) AS type FROM pg_attribute WHERE attrelid = 'contacts'::regclass"
MINUTES = """
    INSERT INTO crm_sync.minutes (minute, crm, worker, delivered, rejected, requests, latency)
    SELECT
        date_trunc('minute', now()) - make_interval(mins => m),
        c.crm,
        w,
        m % 500,
        m % 7,
        m % 50,
        array_fill(m % 25, ARRAY[19])
    FROM generate_series(0, 14 * 1440) AS m
    CROSS JOIN generate_series(1, 2) AS w
    CROSS JOIN crm_sync.lanes AS c
"""
EVENTS = """
    INSERT INTO crm_sync.events (at, event, crm, actor, via, details)
    SELECT now() - make_interval(mins => n), 'breaker_opened', 'brevo', 'worker 1', 'worker', '{"reason": "CRM_ERROR: 503"}'
    FROM generate_series(1, 20000) AS n
"""
HISTORY = """
    INSERT INTO crm_sync.history (at, key, crm, operation, outcome, attempt, waited_ms, took_ms)
    SELECT now() - make_interval(mins => n), c.id::text, 'brevo', 'upsert', 'delivered', 1, 20, 10
    FROM (SELECT id FROM contacts LIMIT 50000) AS c
    CROSS JOIN generate_series(1, 4) AS n
"""


@dataclass(frozen=True, slots=True)
class Page:
    """body: of a form, whose page is then viewed; None: it is only viewed."""

    name: str
    path: str
    body: dict[str, str] | None = None


PAGES = (
    Page("Overview", ""),
    Page("CRM, hour", "crms/brevo"),
    Page("CRM, day", "crms/brevo?span=day"),
    Page("CRM, 14 days", "crms/brevo?span=fortnight"),
    Page("Contacts", "contacts?crm=brevo"),
    Page("Contacts in Error", "contacts?crm=brevo&state=Error"),
    Page("Contacts with a code", "contacts?crm=brevo&code=DUPLICATE"),
    Page("Contacts in a state that none has", "contacts?crm=brevo&state=Skipped"),
    Page("Contact", "contacts/{key}"),
    Page("Contact, revealed", "reveal/{key}", {}),
    Page("Find by key", "find?q={key}"),
    Page("Failures", "failures"),
    Page("Events", "events"),
    Page("Events of a kind that does not exist", "events?event=lane_held"),
    Page("All that match, counted", "selections?crm=brevo&state=Error&status=Queued"),
    Page("Retry, counted", "retry?crm=brevo&code=DUPLICATE"),
)
BY_ADDRESS = Page("Find by address, with an index", "find?q=PERSON.17@example.com")
WITHOUT_INDEX = Page("Find by address, without one", "find?q=PERSON.17@example.com&whole=yes")


@dataclass(frozen=True, slots=True)
class Cost:
    """statements: by name, in the order sent. ms: CPU time of all backends."""

    statements: Sequence[str]
    ms: float


async def fill(url: str, contacts: int) -> None:
    """A table of this many contacts, four lanes each with a line, two weeks of minutes, events and history."""
    app = await asyncpg.connect(url)
    try:
        crms = [row["crm"] for row in await app.fetch("SELECT crm FROM crm_sync.lanes ORDER BY id")]
        columns = ", ".join(f"{crm}_{column}" for crm in crms for column in COLUMNS)
        types = {row["attname"]: row["type"] for row in await app.fetch(TYPES)}
        values = ",".join(
            VALUES.replace("m.i", f"(n + {7 * number})")
            .replace("{crm}_sync_type", types[f"{crm}_sync_status"])
            .replace("{crm}_processing_type", types[f"{crm}_processing_status"])
            for number, crm in enumerate(crms)
        )
        await app.execute("SET session_replication_role = replica")
        await app.execute(PEOPLE.format(columns=columns, values=values), contacts, timeout=PATIENCE_S)
        for crm in crms:
            await app.execute(
                f"INSERT INTO crm_sync.{crm}_line (due_at, key) SELECT {crm}_due_at, id FROM contacts "
                f"WHERE {crm}_due_at IS NOT NULL",
                timeout=PATIENCE_S,
            )
        for statement in (MINUTES, EVENTS, HISTORY):
            await app.execute(statement, timeout=PATIENCE_S)
        await app.execute("VACUUM ANALYZE", timeout=PATIENCE_S)
    finally:
        await app.close()
    async with Database(url, size=1, timeout_s=PATIENCE_S) as database:
        await count(database, PATIENCE_S)


@asynccontextmanager
async def statements() -> AsyncIterator[list[Statement]]:
    """Those run meanwhile."""
    run: list[Statement] = []

    def listen(measured: Measurement) -> None:
        if isinstance(measured, Statement):
            run.append(measured)

    measurements.tap(listen)
    try:
        yield run
    finally:
        measurements.untap(listen)


async def cost(visit: Visit, page: Page, key: str) -> list[str]:
    """The statements of one visit. Raises AssertionError if it is not a page."""
    path = page.path.format(key=key)
    async with statements() as run:
        status, said = await (visit.get(path) if page.body is None else visit.done(path, page.body))
    if status not in (200, 303) and not (page is WITHOUT_INDEX and status == 409):  # given up, and said so
        raise AssertionError(f"{page.name}: {status} {said[-500:]}")
    return [one.name for one in run]


async def costs(url: str, pages: Sequence[Page], times: int = TIMES) -> dict[str, Cost]:
    """By page: for a freshly started console, so that nothing is shared with a previous page; connections are open."""
    app = await asyncpg.connect(url)
    key = str(await app.fetchval(KEY))
    found = {}
    for page in pages:
        samples = []
        for _ in range(times):
            async with visiting(url) as visit:
                await visit.sign_in()
                await asyncio.gather(*(visit.get("find?q=nobody") for _ in range(8)))  # opens the connections
                before = await _ran_ms(app)
                names = await cost(visit, page, key)
                samples.append(await _ran_ms(app) - before)
        found[page.name] = Cost(names, statistics.median(samples))
        print(f"{page.name}: {found[page.name].ms:.0f} ms", file=sys.stderr, flush=True)
    await app.close()
    return found


async def open_tab(url: str, seconds: float) -> float:
    """The share of time that the backends run for a tab with the overview, which asks every two seconds."""
    app = await asyncpg.connect(url)
    async with visiting(url) as visit:
        await visit.sign_in()
        await asyncio.gather(*(visit.get("find?q=nobody") for _ in range(8)))  # opens the connections
        last, ran_ms, began = await _ran(app), 0.0, time.monotonic()
        while time.monotonic() - began < seconds:
            if (await visit.get("parts/overview"))[0] != 200:
                raise AssertionError("the overview is no page")
            now = await _ran(app)
            ran_ms += sum(ms - last.get(pid, 0.0) for pid, ms in now.items())  # one that has ended counts as far as it was seen
            last = now
            await asyncio.sleep(ASKS_S)
        share = ran_ms / 1000 / (time.monotonic() - began)
    await app.close()
    return share


async def _ran_ms(app: asyncpg.Connection) -> float:
    """CPU time of all other backends of this database."""
    return sum((await _ran(app)).values())


async def _ran(app: asyncpg.Connection) -> dict[int, float]:
    """The same by process, in ms."""
    pids = [row["pid"] for row in await app.fetch(BACKENDS)]
    # The first number: nanoseconds.
    return {pid: int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e6 for pid in pids}  # noqa: ASYNC240


async def _measured(url: str, contacts: int) -> dict[str, Cost]:
    await asyncio.to_thread(adopt, url)
    await fill(url, contacts)
    print(f"An open tab, {contacts:,} contacts: {await open_tab(url, TAB_S):.2%} of one backend", flush=True)
    found = await costs(url, [*PAGES, WITHOUT_INDEX])
    app = await asyncpg.connect(url)
    await app.execute("CREATE INDEX ON contacts (lower(email))", timeout=PATIENCE_S)
    await app.close()
    return {**found, **await costs(url, [BY_ADDRESS])}


def main() -> int:
    with running_postgres() as server:
        of_sizes = [asyncio.run(_measured(server.create_database(f"costs_{size}"), size)) for size in SIZES]
    print(f"| page | statements | {' | '.join(f'ms, {size:,} contacts' for size in SIZES)} |\n|---|---|{'---|' * len(SIZES)}")
    for name in of_sizes[0]:
        most = max(len(one[name].statements) for one in of_sizes)
        print(f"| {name} | {most} | {' | '.join(f'{one[name].ms:.0f}' for one in of_sizes)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
