"""The single connection of an adoption, and the lock that ensures there is only one adoption.

There is one connection because the lock must outlive a killed process while the server still runs one of its statements: an index
still being built must be distinguished from one that was interrupted.
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
    """Statements as in sql/queries, with $1 for parameters. Raises ConfigurationError or DatabaseTroubleError, also inside the
    context.
    """
    with translated(), connect(url, row_factory=dict_row, cursor_factory=psycopg.RawCursor) as connection:
        yield connection


@contextmanager
def alone(connection: Connection, tell: Callable[[str], None]) -> Iterator[None]:
    """Waits for another migration or adoption to end."""
    told = False
    # It polls instead of waiting for the lock: an index built concurrently waits for every open statement, so each of the two
    # would wait for the other.
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
    """Runs a statement of sql/queries with these parameters and variables."""
    return connection.execute(render(name, variables).encode(), arguments)


def value(connection: Connection, name: str, *arguments: object) -> Any:
    """The first column of the first row, None if there is none."""
    row = run(connection, name, *arguments).fetchone()
    return None if row is None else next(iter(row.values()))
