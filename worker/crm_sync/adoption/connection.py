"""The one connection that an adoption works through, and the lock that says who does.

One connection, because the lock must outlive whoever is killed for as long as the server is still at a statement of his: an index
that is built by nobody else has to be told from one that was broken off.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.rows import dict_row

from crm_sync.adoption.migrations import connect, translated

LOCK = (1668443496, 0)  # advisory: one migrates or adopts at a time, and a killed one leaves nothing locked
POLL_S = 0.2

Connection = psycopg.Connection[dict[str, Any]]


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    """Statements as in sql/queries, with $1 for parameters. Raises ConfigurationError or DatabaseTroubleError, also inside."""
    with translated(), connect(url, row_factory=dict_row, cursor_factory=psycopg.RawCursor) as connection:
        yield connection


@contextmanager
def alone(connection: Connection, tell: Callable[[str], None]) -> Iterator[None]:
    """Waits for whoever migrates or adopts already."""
    told = False
    # Asked for again and again, not waited for: an index that is built beside the writers waits for every statement that is open,
    # and so each of the two would wait for the other.
    while not value(connection, "SELECT pg_try_advisory_lock($1, $2)", *LOCK):
        if not told:
            told = True
            tell("Waiting: somebody else migrates or adopts here.")
        time.sleep(POLL_S)
    try:
        yield
    finally:
        if not connection.closed:
            connection.execute("SELECT pg_advisory_unlock($1, $2)", LOCK)


def value(connection: Connection, statement: str, *arguments: object) -> Any:
    row = connection.execute(statement.encode(), arguments).fetchone()
    return None if row is None else next(iter(row.values()))
