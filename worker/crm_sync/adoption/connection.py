"""The one connection that an adoption works through, and the lock that says who does.

One connection, because the lock must outlive a killed process for as long as the server is still at a statement of its: an index
that is built by nobody else has to be distinguished from one that was interrupted.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import psycopg
from psycopg.rows import dict_row

from crm_sync.adoption.migrations import connect, translated
from crm_sync.postgres.statements import render

POLL_S = 0.2

Connection = psycopg.Connection[dict[str, Any]]


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    """Statements as in sql/queries, with $1 for parameters. Raises ConfigurationError or DatabaseTroubleError, also inside."""
    with translated(), connect(url, row_factory=dict_row, cursor_factory=psycopg.RawCursor) as connection:
        yield connection


@contextmanager
def alone(connection: Connection, tell: Callable[[str], None]) -> Iterator[None]:
    """Waits for the one who migrates or adopts already."""
    told = False
    # Asked for again and again, not waited for: an index that is built next to the writers waits for every statement that is
    # open, and so each of the two would wait for the other.
    while not value(connection, "take_turn"):
        if not told:
            told = True
            tell("Waiting: another session is migrating or adopting here.")
        time.sleep(POLL_S)
    try:
        yield
    finally:
        if not connection.closed:
            run(connection, "end_turn")


def run(
    connection: Connection, name: str, *arguments: object, variables: Mapping[str, str] = MappingProxyType({})
) -> psycopg.Cursor[dict[str, Any]]:
    """A statement of sql/queries, with what goes in as parameters and as variables."""
    return connection.execute(render(name, variables).encode(), arguments)


def value(connection: Connection, name: str, *arguments: object) -> Any:
    """The first column of the first row, None if there is none."""
    row = run(connection, name, *arguments).fetchone()
    return None if row is None else next(iter(row.values()))
