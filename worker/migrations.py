"""Applies sql/migrations with yoyo. Its tables carry our name, so that an application may use yoyo for itself."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import yoyo
from yoyo.backends import DatabaseBackend

from worker.core.text import clean
from worker.errors import ConfigurationError, DatabaseTroubleError
from worker.sql import folder

LOCK = (1668443496, 0)  # advisory: one migrates at a time, and a killed one leaves nothing locked


def pending(url: str) -> list[str]:
    """Names of the migrations that are not applied yet. Raises as migrate does."""
    with _backend(url) as backend:
        return [migration.id for migration in backend.to_apply(_migrations())]


def migrate(url: str) -> list[str]:
    """Applies what is pending; a second one at the same time waits. Names of the applied ones.

    Raises ConfigurationError with the server's reason, DatabaseTroubleError when it cannot be reached.
    """
    with _backend(url) as backend, _alone(url):
        todo = backend.to_apply(_migrations())
        backend.apply_migrations(todo)
        return [migration.id for migration in todo]


def rollback(url: str) -> list[str]:
    """Undoes all that is applied, the last one first. Raises as migrate does."""
    with _backend(url) as backend, _alone(url):
        todo = backend.to_rollback(_migrations())
        backend.rollback_migrations(todo)
        return [migration.id for migration in todo]


@contextmanager
def _backend(url: str) -> Iterator[DatabaseBackend]:
    address = url.replace("postgresql://", "postgresql+psycopg://", 1)
    with _translated():
        backend = yoyo.get_backend(address, migration_table="_crm_sync_migration")
        try:
            yield backend
        finally:
            backend.connection.close()


def _migrations() -> "yoyo.migrations.MigrationList":
    return yoyo.read_migrations(str(folder() / "migrations"))


@contextmanager
def _alone(url: str) -> Iterator[None]:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s, %s)", LOCK)
        yield


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except psycopg.OperationalError as error:
        raise DatabaseTroubleError(clean(str(error))) from error
    except psycopg.Error as error:
        raise ConfigurationError(
            f"a migration failed and was undone: {clean(str(error.diag.message_primary or error))}"
        ) from error
