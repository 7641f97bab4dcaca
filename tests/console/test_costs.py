"""What a page asks of Postgres is what the manual says, and does not grow with the table."""

import re

from crm_sync.reports import snapshot_counts
from tests.console.costs import BACKENDS, BY_ADDRESS, PAGES, WITHOUT_INDEX, cost, costs, fill, statements
from tests.console.running import visiting
from tests.harness import until
from tests.manual import page
from tests.tiers import slow

SMALL = 400


def table() -> dict[str, int]:
    """Statements by page, from the manual."""
    _, _, rest = page("how-to/console.md").partition("<!-- costs -->")
    return {name: int(count) for name, count in re.findall(r"^\| ([^|]+?) \| (\d+) \|", rest, re.MULTILINE)}


def test_every_page_is_in_the_table():
    assert set(table()) == {one.name for one in (*PAGES, BY_ADDRESS, WITHOUT_INDEX)}


@slow
async def test_a_page_sends_no_more_statements_than_the_manual_says(url):
    await fill(url, SMALL)
    found = await costs(url, [*PAGES, WITHOUT_INDEX], times=1)
    most = table()
    assert {name: len(one.statements) for name, one in found.items() if len(one.statements) > most[name]} == {}


@slow
async def test_no_statement_of_a_page_reads_the_contacts_table_in_no_order(app, url, monkeypatch):
    """With a million rows that would take seconds. Counting all matches is the exception: it is given up after a moment. So is
    counting a table that is small.
    """
    monkeypatch.setattr(snapshot_counts, "SMALL", 0)
    await fill(url, SMALL)
    key = str(await app.fetchval("SELECT id FROM contacts LIMIT 1"))
    before = await scans(app)
    async with visiting(url) as visit:
        await visit.sign_in()
        for one in (one for one in PAGES if not one.path.startswith("selections")):
            await cost(visit, one, key)
    assert await scans(app) == before


async def scans(app) -> int:
    """Of the whole table. A session reports its scans when it ends, or on request."""
    await until(app, f"(SELECT NOT EXISTS ({BACKENDS}))")
    await app.execute("SELECT pg_stat_force_next_flush()")
    await app.execute("SELECT pg_stat_clear_snapshot()")
    return int(await app.fetchval("SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'contacts'"))


async def test_however_many_tabs_are_open_one_reading_serves_them(signed_in):
    await signed_in.get("")
    async with statements() as run:
        for _ in range(20):
            await signed_in.get("parts/overview")
    assert run == []
