"""What a connection asks the server before its first statement of a kind."""

import asyncpg

from crm_sync.postgres.driver_connection import Connection
from crm_sync.postgres.pool import connect

ASKED = "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'WITH RECURSIVE typeinfo_tree%'"
VALUES = ([1, 2], [0.5], ["2d1e0a1c-0000-4000-8000-000000000001"])


async def test_a_built_in_type_is_asked_about_once_in_a_process(url: str):
    read, asked = [], []
    for _ in range(2):
        connection = await connect(url)
        read.append(
            await connection.fetchrow("SELECT $1::bigint[] AS numbers, $2::float8[] AS seconds, $3::uuid[] AS keys", *VALUES)
        )
        asked.append(await connection.fetchval(ASKED))
        await connection.close()
    assert read[0] == read[1]
    assert asked[1] == 0


async def test_what_the_driver_must_be_told_of_is_asked_about_in_each_connection(url: str, app: asyncpg.Connection):
    """Ranges, and the database's own types, whose OIDs mean other types in another database."""
    await app.execute("CREATE TYPE mood AS ENUM ('glad'); CREATE TYPE pair AS (first integer, second mood)")
    for _ in range(2):
        connection = await connect(url)
        row = await connection.fetchrow(
            "SELECT ARRAY[int4range(1, 3)] AS ranges, ARRAY['glad'::public.mood] AS moods, "
            "ARRAY[(1, 'glad')::public.pair] AS pairs"
        )
        assert (row["ranges"], row["moods"], [tuple(pair) for pair in row["pairs"]]) == (
            [asyncpg.Range(1, 3)],
            ["glad"],
            [(1, "glad")],
        )
        await connection.close()
    assert all(one["elemtype_name"] not in {"int4range", "mood", "pair"} for one in Connection._built_in.values())
