"""Applies sql/migrations, the machinery of crm-sync, with yoyo. Everything is in the schema crm_sync, including yoyo's own
tables.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

import psycopg
import yoyo
from psycopg.rows import tuple_row
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
from yoyo.connections import DatabaseURI
from yoyo.migrations import MigrationList

from crm_sync.core.table_words import WITHOUT_ROWS
from crm_sync.core.text import clean
from crm_sync.errors import ConfigurationError, DatabaseTroubleError
from crm_sync.postgres.driver_arguments import SETTING, libpq_arguments
from crm_sync.postgres.pooler import LEADS_THROUGH
from crm_sync.postgres.session_settings import OF_ADOPTION, SINCE_17, search_path
from crm_sync.postgres.sqlstates import Fault, fault_of
from crm_sync.postgres.statements import folder, query, quote, render, set_to
from crm_sync.postgres.translation import AT_LOGIN, in_function

SCHEMA = "crm_sync"
TABLE = "_crm_sync_migration"
# A path for yoyo: it creates its tables, and looks for them, in the first schema of the path.
_NOTES_PATH = {"search_path": f"{SCHEMA}, pg_temp"}
# A statement ends with the process that waits for it: otherwise an index of a killed process would keep its lock until it is
# built.
_WHERE_IT_CAN_BE = {"client_connection_check_interval": "1s"}
# In what libpq says of a login that failed. Only the error of a function has a context.
_AT_LOGIN = re.compile(r"FATAL: +(.*?)\n.*^CONTEXT:", re.DOTALL | re.MULTILINE)


def pending(url: str) -> list[str]:
    """Names of the migrations that are not applied yet. Raises as migrate does, and if that cannot be determined."""
    with translated(), connect(url) as connection:
        begun = connection.execute(query("detect_migrations").encode()).fetchone()
        noted = begun != (True,) or connection.execute(query("detect_notes").encode()).fetchone() == (True,)
    if begun != (True,):
        return names()
    if not noted:
        raise ConfigurationError(WITHOUT_ROWS)
    with _backend(url) as backend:
        return [migration.id for migration in backend.to_apply(_migrations())]


def names() -> list[str]:
    """Of all migrations, in order."""
    return sorted(migration.id for migration in _migrations())


def statements(name: str) -> str:
    """The text of a migration."""
    return (folder() / "migrations" / f"{name}.sql").read_text()


def migrate(url: str) -> list[str]:
    """Applies pending migrations, all or nothing. Returns their names. Two at the same time fail: see `crm_sync.adoption`.

    Raises ConfigurationError with the server's reason, DatabaseTroubleError when it cannot be reached.
    """
    with translated(), connect(url) as connection:
        make_schema(connection)
    with _backend(url) as backend:
        backend.ensure_internal_schema_updated()
        todo = backend.to_apply(_migrations())
        # yoyo records a migration as done only after committing it: killed in between, it could never continue.
        with backend.transaction():
            for migration in todo:
                migration.process_steps(backend, "apply")
                backend.mark_one(migration)
        return [migration.id for migration in todo]


def make_schema(connection: psycopg.Connection[Any]) -> None:
    """If it does not exist. Raises ConfigurationError with the GRANT that is missing."""
    if connection.execute(query("find_schema").encode()).fetchone() is not None:
        return
    try:
        connection.execute(query("create_schema").encode())
    except psycopg.errors.InsufficientPrivilege as error:
        role, database = quote(connection.info.user), quote(connection.info.dbname)
        raise ConfigurationError(
            f"the role {connection.info.user} may not create the schema crm_sync. Let the owner of the database run: "
            f"GRANT CREATE ON DATABASE {database} TO {role}; it can be revoked afterwards"
        ) from error


def rollback(url: str) -> list[str]:
    """Rolls back all applied migrations, latest first, and drops the schema. Returns their names. crm-sync must already have been
    removed from the contacts table.

    Raises as migrate does.
    """
    with _backend(url) as backend:
        todo = backend.to_rollback(_migrations())
        with backend.transaction():
            for migration in todo:
                migration.process_steps(backend, "rollback")
            # Only yoyo's records are left.
            for table in (backend.migration_table, backend.log_table, backend.version_table, backend.lock_table):
                backend.execute(render("drop_notes", {"note_table": table}))
            backend.execute(query("drop_schema"))
        return [migration.id for migration in todo]


def connect(url: str, **options: Any) -> psycopg.Connection[Any]:
    """A connection that no setting of the role or database interrupts, in autocommit mode. Raises ConfigurationError for a
    pooler.
    """
    # A prepared statement, as psycopg uses after some executions, cannot contain several commands. In an SQL_ASCII database,
    # texts would be bytes.
    options = {"prepare_threshold": None, "client_encoding": "utf8"} | options
    connection = psycopg.connect(autocommit=True, **libpq_arguments(url), **options)
    try:
        _refuse_pooler(url, connection)
        settings = OF_ADOPTION | search_path() | (SINCE_17 if connection.info.server_version >= 170000 else {})
        connection.execute(set_to(settings, local=False).encode())
        with suppress(psycopg.errors.InvalidParameterValue):
            connection.execute(set_to(_WHERE_IT_CAN_BE, local=False).encode())
    except BaseException:
        connection.close()
        raise
    return connection


def _refuse_pooler(url: str, connection: psycopg.Connection[Any]) -> None:
    """A transaction pooler gives each statement to another session: locks and settings would belong to arbitrary sessions.

    A pooler reports another process id for the connection than the server does. A session pooler is fine.
    """
    number = _server_process(connection)
    if number == connection.info.backend_pid:
        return
    # This makes another connection take the current session, if possible, and keep it.
    with psycopg.connect(**libpq_arguments(url), prepare_threshold=None) as other:
        _server_process(other)
        if _server_process(connection) == number:
            return
    raise ConfigurationError(LEADS_THROUGH)


def _server_process(connection: psycopg.Connection[Any]) -> int:
    with psycopg.Cursor(connection, row_factory=tuple_row) as cursor:
        row = cursor.execute(query("show_process").encode()).fetchone()
    return int(row[0]) if row else 0


class _Backend(PostgresqlPsycopgBackend):  # type: ignore[misc]
    """yoyo on our own connection: its URL parser supports neither several hosts nor all parameters."""

    schema = SCHEMA

    def __init__(self, url: str) -> None:
        self._url = url
        super().__init__(DatabaseURI("postgresql", None, None, None, None, None, {}), TABLE)

    def connect(self, _: DatabaseURI) -> psycopg.Connection[Any]:
        return connect(self._url)

    def init_connection(self, connection: psycopg.Connection[Any]) -> None:
        connection.execute(set_to(_NOTES_PATH, local=False).encode())

    def _check_transactional_ddl(self) -> bool:
        """Known, without creating a table."""
        return True

    @contextmanager
    def lock(self, timeout: float = 0) -> Iterator[None]:
        """Does nothing: yoyo's lock is a row, which a killed process leaves behind forever. See `crm_sync.adoption` for ours."""
        yield


@contextmanager
def _backend(url: str) -> Iterator[_Backend]:
    with translated():
        backend = _Backend(url)
        try:
            backend.init_database()
            yield backend
        finally:
            backend.connection.close()


@cache
def _migrations() -> MigrationList:
    """yoyo takes each apart into statements, which costs a tenth of a second for all: once is enough, the files do not change."""
    return yoyo.read_migrations(str(folder() / "migrations"))


@contextmanager
def translated() -> Iterator[None]:
    """Translates psycopg's errors to ours."""
    try:
        yield
    except psycopg.Error as error:
        raise _translate(error) from error


def _translate(error: psycopg.Error) -> Exception:
    fault = fault_of(error.sqlstate, str(error))
    if error.sqlstate is None and "FATAL:" in str(error) and (found := _AT_LOGIN.search(str(error))):
        return DatabaseTroubleError(AT_LOGIN.format(said=clean(found[1])))
    if fault is Fault.PASSES or (error.sqlstate is None and isinstance(error, psycopg.OperationalError)):
        asks = f". Has {SETTING} the right host and port?" if "Connection refused" in str(error) else ""
        return DatabaseTroubleError(f"{clean(str(error))}{asks}")
    if fault is Fault.POOLER:
        return ConfigurationError(f"{LEADS_THROUGH} ({clean(str(error))}, SQLSTATE {error.sqlstate})")
    # Only the details name the dependent objects. The details of other errors quote rows.
    details = error.diag.message_detail if isinstance(error, psycopg.errors.DependentObjectsStillExist) else None
    return ConfigurationError(
        f"the database refused a change, which was undone: {clean(str(error.diag.message_primary or error))}"
        f"{in_function(error.diag.context)}"
        f"{f' ({clean(details)})' if details else ''}"
    )
