"""Putting crm-sync on a live table, and removing it. Both can safely be interrupted at any point and run again."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from crm_sync.adoption import migrations
from crm_sync.adoption.columns import inspect_columns, refuse_foreign_types
from crm_sync.adoption.connection import Connection, alone, connected, run, value
from crm_sync.adoption.emptied import WRITTEN_ANEW, restore
from crm_sync.adoption.steps import PATIENCE_S, Runner, Step, Tell, bytes_a_second, missing, undoing
from crm_sync.adoption.table import OLDEST_SERVER, AdoptionRequest, Table, enter, server_number
from crm_sync.core.table_words import WITHOUT_ROWS, flips_note
from crm_sync.errors import ConfigurationError, DatabaseTroubleError
from crm_sync.postgres.statements import quote

_CRM = re.compile(r"[a-z][a-z0-9_]{0,19}")  # as in crm_sync.lanes
NO_WORKER_BESIDE = ("0007.line",)  # migrations that change something running workers depend on
ROUNDS = 5  # a plan that was carried out but is still incomplete: something is working against it


@dataclass(frozen=True, slots=True)
class Plan:
    """migrations: of the schema crm_sync, to be applied first. pace: bytes per second that this server reads, None if unknown."""

    migrations: Sequence[str]
    table: Table
    steps: Sequence[Step]
    notes: Sequence[str]
    pace: float | None


@dataclass(frozen=True, slots=True)
class Undoing:
    """table: empty if it no longer exists. lost: a sentence for each thing that will be lost.

    workers: those that still run, and have to be stopped first.
    """

    table: str
    created: bool
    steps: Sequence[Step]
    lost: Sequence[str]
    workers: Sequence[str]


def quietly(_sentence: str) -> None:
    """For callers without anyone to tell."""


def plan(url: str, request: AdoptionRequest, tell: Tell = quietly) -> Plan:
    """What adopt would do now. Everything is tried in a transaction that is rolled back, and locks none of the application's
    tables.

    tell: called with a sentence when it has to wait. Raises ConfigurationError that names the obstacle, or DatabaseTroubleError.
    """
    with connected(url) as connection, alone(connection, tell):
        _check_server(connection)
        _check_schema(connection)
        with _tried(connection):
            restored = restore(connection, request)
            todo = migrations.pending(url) if restored is None else restored.pending
            _refuse_older_workers(connection, todo)
            table, crms, notes = _enter(connection, request if restored is None else restored.request, todo)
            if restored is not None:
                notes.append(WRITTEN_ANEW)
            return Plan(todo, table, missing(connection, crms), notes, bytes_a_second(connection, table.name))


def adopt(url: str, request: AdoptionRequest, tell: Tell = quietly, patience_s: float = PATIENCE_S) -> list[str]:
    """Completes schema and table. Returns what was done, each a statement or the name of a migration.

    tell: called with each of these as it is done, and with a sentence when it has to wait. patience_s: how long each step waits
    for other sessions, at most. Raises as plan does.
    """
    with connected(url) as connection, alone(connection, tell):
        _check_server(connection)
        _check_schema(connection)
        with connection.transaction():
            if (restored := restore(connection, request)) is not None:
                request = restored.request
        done: list[str] = []
        if restored is not None:
            done.append("restored  the contents of crm-sync's tables")
            tell(done[0])
        if todo := migrations.pending(url):
            _refuse_older_workers(connection, todo)
            with _tried(connection):
                # A refusal must come before anything is created.
                _enter(connection, request, todo)
        for name in migrations.migrate(url):
            tell(f"applied  {name}")
            done.append(name)
        with connection.transaction():
            table, crms, _ = _enter(connection, request, [])
        runner = Runner(url, connection, table.name, tell, patience_s)
        for _ in range(ROUNDS):
            steps = missing(connection, crms)
            if not steps:
                run(connection, "count_rows")
                _name_workers_begun_meanwhile(connection, todo, tell)
                return done
            for step in steps:
                runner.run(step)
                tell(step.statement)
                done.append(step.statement)
        raise DatabaseTroubleError(
            f"what is added to {table.name} is removed again: find what does so, such as an event trigger, and run this again"
        )


def undo_plan(url: str, tell: Tell = quietly) -> Undoing | None:
    """What undo would do now; None if there is nothing of crm-sync. For tell and what it raises, see plan."""
    with connected(url) as connection, alone(connection, tell):
        return _undo_plan(connection)


def undo(url: str, tell: Tell = quietly, patience_s: float = PATIENCE_S) -> list[str]:
    """Removes everything that was added. For the result and patience_s, see adopt. Raises as plan does, and if a worker still
    runs.
    """
    with connected(url) as connection, alone(connection, tell):
        planned = _undo_plan(connection)
        if planned is None:
            return []
        if planned.workers:
            raise ConfigurationError(f"these workers still run, and would fail: {', '.join(planned.workers)}. Stop them first")
        done = []
        runner = Runner(url, connection, planned.table, tell, patience_s)
        for step in planned.steps:
            runner.run(step)
            tell(step.statement)
            done.append(step.statement)
        for name in migrations.rollback(url):
            tell(f"undone   {name}")
            done.append(name)
        return done


def _enter(connection: Connection, request: AdoptionRequest, todo: Sequence[str]) -> tuple[Table, list[str], list[str]]:
    """The table, the CRMs to be on it, and what the user should know. todo: migrations that are not applied yet."""
    migrations.make_schema(connection)
    for name in todo:
        connection.execute(migrations.statements(name).encode())
    table = enter(connection, request)
    refuse_foreign_types(connection)
    crms = _crms(connection, request)
    return table, crms, [*table.notes, *inspect_columns(connection, crms, table.name), *_notes(connection, table)]


def _notes(connection: Connection, table: Table) -> Iterator[str]:
    """What is on the table that the user may not think of."""
    flips = run(connection, "find_unseen_flips").fetchone()
    if flips and flips["triggers"] and not flips["are_seen"]:
        yield (
            f"{flips_note(flips['triggers'])}. So there is a trigger crm_sync_catch, which sees it at once and costs each UPDATE "
            "of the table a few percent; an AFTER trigger with an UPDATE of the status would need none"
        )


def _undo_plan(connection: Connection) -> Undoing | None:
    _check_schema(connection)
    if run(connection, "find_schema").fetchone() is None:
        return None
    if not value(connection, "detect_adoption"):
        # An adoption was interrupted before it began.
        return Undoing("", created=False, steps=[], lost=[], workers=[])
    if not value(connection, "detect_notes"):
        raise ConfigurationError(f"{WITHOUT_ROWS}, then undo")
    adopted = run(connection, "read_adoption").fetchone()
    workers = _living_workers(connection)
    if adopted is None:
        return Undoing("", created=False, steps=[], lost=[], workers=workers)
    if value(connection, "detect_hidden_rows"):
        raise ConfigurationError(
            f"row level security is forced on the owner of {adopted['name']} too, so what would be lost cannot be seen: "
            f"ALTER TABLE {adopted['name']} NO FORCE ROW LEVEL SECURITY, undo, and force it again"
        )
    crms = _installed(connection)
    steps = undoing(connection, crms)
    name = adopted["name"]
    if name is None:  # Somebody has dropped the table.
        return Undoing("", adopted["created"], steps, [], workers)
    return Undoing(name, adopted["created"], steps, _losses(connection, name), workers)


@contextmanager
def _tried(connection: Connection) -> Iterator[None]:
    """A transaction that leaves nothing behind."""
    with connection.transaction(force_rollback=True):
        yield


def _check_server(connection: Connection) -> None:
    if server_number(connection) < OLDEST_SERVER:
        raise ConfigurationError("PostgreSQL 15 or newer is needed")
    if value(connection, "detect_read_only"):
        raise ConfigurationError(
            "the database is read-only: name the primary in DATABASE_URL or LISTEN_DATABASE_URL, or turn "
            "default_transaction_read_only off"
        )


def _check_schema(connection: Connection) -> None:
    """Called before anything in the schema is used. Raises ConfigurationError if its owner could run SQL as this role."""
    schema = run(connection, "find_schema").fetchone()
    if schema is not None and schema["is_foreign"]:
        owner, role = schema["owner"], schema["role"]
        raise ConfigurationError(
            f"the schema crm_sync belongs to {owner}, who could use it to run SQL as {role}: run this as {owner}"
        )


def _refuse_older_workers(connection: Connection, todo: Sequence[str]) -> None:
    """Raises ConfigurationError if a running worker does not support what is about to change."""
    if not set(todo).intersection(NO_WORKER_BESIDE) or not value(connection, "detect_adoption"):
        return
    if workers := _living_workers(connection):
        raise ConfigurationError(
            f"these workers are of an older version, and would not see what is in line: {', '.join(workers)}. Stop them first"
        )


def _name_workers_begun_meanwhile(connection: Connection, todo: Sequence[str], tell: Tell) -> None:
    """One that read the schema before it was changed, and registered after it was looked for, does not know about the change."""
    if set(todo).intersection(NO_WORKER_BESIDE) and (workers := _living_workers(connection)):
        tell(f"These workers started meanwhile: {', '.join(workers)}. Restart them: an older one would not see what is in line.")


def _living_workers(connection: Connection) -> list[str]:
    return [f"{row['host']} (pid {row['pid']})" for row in run(connection, "list_living")]


def _installed(connection: Connection) -> list[str]:
    return [row["crm"] for row in run(connection, "list_crms")]


def _crms(connection: Connection, request: AdoptionRequest) -> list[str]:
    """The wanted CRMs: the installed and the named ones; if there are none, the defaults of the request.

    Each is recorded at once, so that all of them are still wanted when an interrupted adoption is run again.
    """
    for crm in request.crms:
        if not _CRM.fullmatch(crm):
            raise ConfigurationError(f"{crm} is not a valid CRM name: expected lower-case letters, digits and _, 20 at most")
    entered = _installed(connection)
    crms = list(dict.fromkeys([*entered, *request.crms])) or list(request.default_crms)
    for crm in crms:
        if crm not in entered:
            run(connection, "enter_crm", crm)
    return crms


def _losses(connection: Connection, name: str) -> list[str]:
    added = {row["name"] for row in run(connection, "list_added_columns")}
    lost = []
    for row in run(connection, "list_installed").fetchall():
        variables = _variables(row["crm"], row["remote_id_column"]) | {"contacts": name}
        counts = run(connection, "count_losses", variables=variables).fetchone() or {}
        lost += _lost(row["crm"], row["remote_id_column"], counts, added)
    tombstones = value(connection, "count_untold_deletions")
    if tombstones:
        lost.append(f"{tombstones:,} deletions that a CRM has not been told about yet: the records stay there")
    return lost


def _lost(crm: str, remote_id: str, counts: Mapping[str, int], added: set[str]) -> list[str]:
    told = [
        (f"{crm}_due_at", counts["in_line"], "in line or in flight: no worker will send them"),
        (
            remote_id,
            counts["known"],
            f"known by their id in {crm}: {remote_id} is dropped, and with it the link to their records",
        ),
        (f"{crm}_sync_status", counts["complete"], "Complete: the note of their delivery is lost"),
        (f"{crm}_processing_error", counts["with_reason"], "with a failure reason"),
    ]
    return [f"{crm}: {count:,} contacts {what}" for column, count, what in told if count and column in added]


def _variables(crm: str, remote_id: str) -> dict[str, str]:
    names = ("sync_status", "due_at", "processing_error")
    return {**{name: quote(f"{crm}_{name}") for name in names}, "remote_id": quote(remote_id)}
