"""Applies sql/migrations, the machinery of crm-sync, with yoyo. All of it is in the schema crm_sync, yoyo's notes included."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlencode, urlsplit, urlunsplit

import psycopg
import yoyo
from yoyo.backends import DatabaseBackend
from yoyo.migrations import MigrationList

from worker.core.text import clean
from worker.errors import ConfigurationError, DatabaseTroubleError
from worker.sql import folder

SCHEMA = "crm_sync"
TABLE = "_crm_sync_migration"


def pending(url: str) -> list[str]:
    """Names of the migrations that are not applied yet. Raises as migrate does."""
    with translated(), psycopg.connect(url, autocommit=True) as connection:
        begun = connection.execute("SELECT to_regclass(%s)", [f"{SCHEMA}.{TABLE}"]).fetchone()
    if begun == (None,):
        return [migration.id for migration in _migrations()]
    with _backend(url) as backend:
        return [migration.id for migration in backend.to_apply(_migrations())]


def statements(name: str) -> str:
    """The text of a migration."""
    return (folder() / "migrations" / f"{name}.sql").read_text()


def migrate(url: str) -> list[str]:
    """Applies what is pending, all or nothing. Names of the applied ones. Two at once fail: see `worker.adoption`.

    Raises ConfigurationError with the server's reason, DatabaseTroubleError when it cannot be reached.
    """
    with translated(), psycopg.connect(url, autocommit=True) as connection:
        # IF NOT EXISTS asks for the right to make it all the same, which may have been taken back since.
        if connection.execute("SELECT to_regnamespace(%s)", [SCHEMA]).fetchone() == (None,):
            connection.execute(f"CREATE SCHEMA {SCHEMA}")
    with _backend(url) as backend:
        backend.ensure_internal_schema_updated()
        todo = backend.to_apply(_migrations())
        # yoyo by itself notes a migration down after it has committed it: killed in between, it could never go on.
        with backend.transaction():
            for migration in todo:
                migration.process_steps(backend, "apply")
                backend.mark_one(migration)
        return [migration.id for migration in todo]


def rollback(url: str) -> list[str]:
    """Undoes all that is applied, the last one first, and drops the schema. Names. The contacts table must be free of it already.

    Raises as migrate does.
    """
    with _backend(url) as backend:
        todo = backend.to_rollback(_migrations())
        with backend.transaction():
            for migration in todo:
                migration.process_steps(backend, "rollback")
            # What is left are yoyo's notes. Not CASCADE: nothing of anybody else's goes with it.
            for (table,) in backend.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = :schema", {"schema": SCHEMA}
            ).fetchall():
                backend.execute(f"DROP TABLE {SCHEMA}.{table}")
            backend.execute(f"DROP SCHEMA {SCHEMA}")
        return [migration.id for migration in todo]


@contextmanager
def _backend(url: str) -> Iterator[DatabaseBackend]:
    parts = urlsplit(url.replace("postgresql://", "postgresql+psycopg://", 1))
    query = "&".join(filter(None, [parts.query, urlencode({"schema": SCHEMA})]))
    with translated():
        backend = yoyo.get_backend(urlunsplit(parts._replace(query=query)), migration_table=TABLE)
        try:
            yield backend
        finally:
            backend.connection.close()


def _migrations() -> MigrationList:
    return yoyo.read_migrations(str(folder() / "migrations"))


@contextmanager
def translated() -> Iterator[None]:
    """psycopg's errors in our words."""
    try:
        yield
    except psycopg.OperationalError as error:
        raise DatabaseTroubleError(clean(str(error))) from error
    except psycopg.Error as error:
        # Of what else stands upon it, only the details tell. Those of other errors quote rows.
        details = error.diag.message_detail if isinstance(error, psycopg.errors.DependentObjectsStillExist) else None
        raise ConfigurationError(
            f"the database refused a change, which was undone: {clean(str(error.diag.message_primary or error))}"
            f"{f' ({clean(details)})' if details else ''}"
        ) from error
