"""Servers for the tests: of version PG, fast, and gone with the tests."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from crm_sync.sandbox.postgres import DEFAULT_VERSION, Postgres, PostgresUnavailableError, binaries, running_postgres

VERSION = int(os.environ.get("PG") or DEFAULT_VERSION)
# The tests kill workers and servers, not the disk: surviving a power failure is not their subject.
OPTIONS = {"fsync": "off", "full_page_writes": "off", "max_connections": "200"}
ROOM_BYTES = 4 << 30  # a table of a million rows and its WAL take half of it


@contextmanager
def running_server(**options: str) -> Iterator[Postgres]:
    with running_postgres(VERSION, OPTIONS | options, within=memory()) as server:
        yield server


def missing_server() -> str | None:
    """Why there is no server for the tests, in a sentence."""
    url = os.environ.get("TEST_DATABASE_URL")
    try:
        if url is None or not url:
            binaries(VERSION)
            return None
        with psycopg.connect(url, connect_timeout=10) as connection:
            [is_superuser] = connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone() or [
                False
            ]
    except PostgresUnavailableError as error:
        return str(error)
    except psycopg.Error as error:
        return f"TEST_DATABASE_URL: {' '.join(str(error).split())}"
    return None if is_superuser else "TEST_DATABASE_URL: its role is no superuser"


def memory() -> Path | None:
    """A file system in memory, if there is room: each test has its own database, about 300 new files."""
    folder = Path("/dev/shm")  # noqa: S108 (a folder of ours is made in it)
    if folder.is_dir() and os.access(folder, os.W_OK) and shutil.disk_usage(folder).free > ROOM_BYTES:
        return folder
    return None
