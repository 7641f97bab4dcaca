"""A separate server with the table of field.py: these tests kill what runs in it, restart it and read its log."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pytest

from crm_sync.sandbox.postgres import Postgres
from tests.adoption import field
from tests.adoption.commands import Commands, commands
from tests.servers import running_server

OPTIONS = {
    "max_wal_size": "4GB",
    "autovacuum_naptime": "1s",
    "log_line_prefix": "%d|%a|",
}
ROWS = 1_000
_numbers = itertools.count(1)


def new_name() -> str:
    """For a database."""
    return f"field_{next(_numbers)}"


@dataclass(frozen=True)
class Field:
    """A database with the table. url: of its owner."""

    server: Postgres
    name: str
    rows: int

    @property
    def url(self) -> str:
        return field.as_role(self.server.url(self.name), field.OWNER)

    @property
    def application_url(self) -> str:
        return field.as_role(self.server.url(self.name), field.APPLICATION)

    def admin(self) -> psycopg.Connection:
        return psycopg.connect(self.server.url(self.name), autocommit=True)

    def application(self) -> psycopg.Connection:
        return psycopg.connect(self.application_url, autocommit=True)


@pytest.fixture(scope="package")
def field_server() -> Iterator[Postgres]:
    with running_server(**OPTIONS) as server:
        field.make_roles(server)
        field.make_database(server, field.TEMPLATE, ROWS)
        yield server


@pytest.fixture
def people(field_server: Postgres) -> Iterator[Field]:
    """A small one."""
    name = new_name()
    field.copy_database(field_server, name)
    yield Field(field_server, name, ROWS)
    field_server.drop_database(name)


@pytest.fixture(scope="package")
def crm_sync(tmp_path_factory) -> Iterator[Commands]:
    """The command line."""
    with commands(tmp_path_factory.mktemp("commands")) as running:
        yield running
