"""What a worker's statements read from a partitioned table of 80,000 rows: entries of the line, in order, and their rows."""

import json

import pytest

from crm_sync.core.moments import BEGINNING
from crm_sync.core.outcome import Finish, Kind, columns, sparse
from tests.adoption.steps import adopt
from tests.steps import open_worker
from tests.tiers import slow

pytestmark = slow

PARTS = 8
PEOPLE = (
    "CREATE TABLE people (id bigint NOT NULL, email text, first_name text, at date NOT NULL, PRIMARY KEY (id, at))"
    " PARTITION BY RANGE (at);"
    + "".join(
        f"CREATE TABLE people_{n} PARTITION OF people FOR VALUES FROM ('{2018 + n}-01-01') TO ('{2019 + n}-01-01');"
        for n in range(PARTS)
    )
    + "INSERT INTO people SELECT n, n || '@example.com', 'Ada', make_date(2018 + n % 8, 6, 1) FROM generate_series(1, 80000) AS n"
)


@pytest.fixture(params=[False, True], ids=["never analyzed", "analyzed"])
async def worker(owner, empty_url, request):
    await owner.execute(PEOPLE)
    await adopt(empty_url, "people", key="id")
    await owner.execute("UPDATE people SET brevo_sync_status = 'Queued' WHERE id <= 20000")
    if request.param:
        await owner.execute("ANALYZE")
    async with open_worker(empty_url, 1) as worker:
        yield worker


async def explained(worker, statement, *arguments):
    """Every node of the plan, and the blocks it touched."""
    async with worker.database.connection() as connection:
        transaction = connection.transaction()
        await transaction.start()
        rows = await connection.fetch(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", *arguments)
        await transaction.rollback()
    plan = json.loads(rows[0][0])[0]["Plan"]
    return list(nodes(plan)), plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


def nodes(plan):
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def scans(plan, words):
    return {node["Index Name"] for node in plan if words in node.get("Index Name", "")}


def sorted_rows(plan):
    """From nodes that sort what they have first read completely."""
    return sum(node["Actual Rows"] for node in plan if node["Node Type"] in ("Sort", "Incremental Sort"))


LINE = {"brevo_line_due_at"}
KEYS = {f"people_{n}_pkey" for n in range(PARTS)}


async def test_a_claim_reads_the_line_in_order_and_then_its_rows_by_their_key(worker):
    plan, blocks = await explained(worker, worker.contacts._claim, 100, 1 << 32, BEGINNING, [], False, 10, BEGINNING)
    assert scans(plan, "due_at") == LINE
    assert scans(plan, "pkey") >= KEYS
    assert not [node for node in plan if "Seq Scan" in node["Node Type"]]
    assert sorted_rows(plan) == 0
    assert blocks < 8000, "of 100 contacts, looked for in 8 partitions each"


async def test_what_is_due_next_and_where_the_backlog_ends_are_read_from_the_ends_of_the_line(worker):
    for statement, arguments in (
        (worker.contacts.line._next_due, ([], BEGINNING)),
        (worker.contacts.line._newest_due, ([], BEGINNING, 100)),
    ):
        plan, blocks = await explained(worker, statement, *arguments)
        assert scans(plan, "due_at") == LINE
        assert not [node for node in plan if "Seq Scan" in node["Node Type"]]
        assert sorted_rows(plan) < 200
        assert blocks < 4000


async def test_a_finish_finds_its_rows_by_their_key_and_its_lines_by_their_time(worker):
    claimed = await worker.claim(100)
    arguments = sparse(columns([Finish(one.id, one.token, Kind.DELIVERED, remote_id="7") for one in claimed]))
    plan, blocks = await explained(worker, worker.contacts._finishing._finish.told, *arguments)
    assert scans(plan, "pkey") >= KEYS
    assert scans(plan, "due_at") == LINE
    assert not [node for node in plan if "Seq Scan" in node["Node Type"]]
    assert blocks < 12000, "of 100 contacts, looked for in 8 partitions each, twice"


async def test_orphans_are_looked_for_among_those_in_line_only(worker):
    plan, _ = await explained(worker, worker.contacts._orphans, [7])
    assert scans(plan, "pkey") >= KEYS
    assert not [node for node in plan if "Seq Scan" in node["Node Type"] and node["Relation Name"].startswith("people")]
