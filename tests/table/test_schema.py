"""What a worker looks at again and again: whether the table is still as it was."""

import re

import pytest

from crm_sync.postgres.statements import query


@pytest.mark.parametrize("name", ["list_lanes", "list_obstacles"])
async def test_each_look_reads_a_few_rows_of_the_catalog_and_not_all(worker, name):
    plan = "\n".join(row[0] for row in await worker.database.fetch(f"EXPLAIN {query(name)}"))
    read = [int(rows) for rows in re.findall(r"on pg_(?:attribute|trigger)\b.*rows=(\d+)", plan)]
    assert read, plan
    assert max(read) < 200, plan
