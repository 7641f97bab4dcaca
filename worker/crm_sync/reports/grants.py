"""The rights that a role needs, and no others: a worker, an application that flips, a console.

The GRANTs are composed here, not in .sql files: they are printed, not run, and consist mostly of names.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from crm_sync.core.traceparent import COLUMN
from crm_sync.postgres.statements import quote
from crm_sync.table.adopted_table import OWN_COLUMNS, ROLL_UP
from crm_sync.table.clearing import column_of, record_column_of
from crm_sync.table.rights import (
    ALERT_TABLES,
    BUDGETS,
    FAULTS_WRITTEN,
    HISTORY_FORGOTTEN,
    LANES_READ,
    LANES_WRITTEN,
    PERMITS,
    TELLING,
    TELLING_FUNCTIONS,
    TOMBSTONES_WRITTEN,
    WORKERS_CHANGED,
    WORKERS_READ,
    WORKERS_WRITTEN,
)
from crm_sync.table.schema import Schema

VIEWS = ("crm_sync.deliveries", "crm_sync.throughput", "crm_sync.errors_by_code")
FUNCTIONS = (
    "crm_sync.history_slot(timestamptz)",
    "crm_sync.key_name(text)",
    "crm_sync.latency_bounds()",
    "crm_sync.tidy_history(integer)",
)

LOOKED_UP = ("contacts()", "parts()", "flipping_triggers()", "flipped_crms(text[])", "caught_crms(text[])")
PAUSED = ("held_since", "held_reason", "revision")
MIGRATION_TABLES = ("_crm_sync_migration", "_yoyo_version")
CONSOLE_READ = (
    *("adopted", "lanes", "tombstones", "workers", "living_workers", MIGRATION_TABLES[0]),
    *("events", "minutes", "budgets", "pace", "snapshot", "progress", "deliveries", "alerts", "alert_codes"),
)


def for_worker(schema: Schema, target: Mapping[str, Any], role: str, mapped: Sequence[Mapping[str, Any]]) -> list[str]:
    """target: the role and the table, as describe_role.sql has them. mapped: what the mapping reads (`columns_of_mapping`)."""
    to = f"TO {quote(role)};"
    contacts = schema.table.name
    cleared = _sent_columns(schema)
    own = [*_own_columns(schema), *cleared]
    emails = [lane.variables["email"] for lane in schema.lanes.values()]
    namespaces = {"crm_sync", target["namespace"], *target["type_namespaces"], *(row["namespace"] for row in mapped)}
    # Statements use ctid to find the rows they have locked, and xmax to see which transaction has locked a row.
    traced = [quote(COLUMN)] if COLUMN in schema.table.types else []
    read = ["ctid", "xmax", *_keys(schema), *emails, *own, *traced]
    return [
        f"GRANT CONNECT ON DATABASE {quote(target['database'])} {to}",
        f"GRANT USAGE ON SCHEMA {_quoted(namespaces)} {to}",
        *_read_by_mapping(target, {contacts: read}, contacts, mapped, to),
        f"GRANT UPDATE{_columns(own)} ON TABLE {contacts} {to}",
        "-- Who is in line.",
        *(f"GRANT SELECT, INSERT, DELETE ON TABLE {lane.variables['line']} {to}" for lane in schema.lanes.values()),
        *_policy(schema, target, role),
        *_clearing(to if cleared else None),
        *_on_own_tables(to),
    ]


def _on_own_tables(to: str) -> list[str]:
    """What a worker needs in the schema crm_sync, whatever the contacts table looks like."""
    lanes_read, lanes_written = [*LANES_READ, *FAULTS_WRITTEN], [*LANES_WRITTEN, *FAULTS_WRITTEN]
    tables = ", ".join(f"crm_sync.{table}" for table in MIGRATION_TABLES)
    return [
        "-- Which table it is.",
        f"GRANT SELECT ON TABLE crm_sync.adopted {to}",
        "-- Which CRMs there are, whether they may be called, and what is used of their limits.",
        f"GRANT SELECT{_columns(lanes_read)}, UPDATE{_columns(lanes_written)} ON TABLE crm_sync.lanes {to}",
        f"GRANT {_three(BUDGETS, BUDGETS, BUDGETS)} ON TABLE crm_sync.budgets {to}",
        f"GRANT EXECUTE ON FUNCTION crm_sync.other_retries(text, text) {to}",
        "-- Which triggers of the table set a status themselves.",
        *(f"GRANT EXECUTE ON FUNCTION crm_sync.{name} {to}" for name in LOOKED_UP),
        "-- Deleted contacts that a CRM has not been told about yet.",
        f"GRANT SELECT, UPDATE{_columns(TOMBSTONES_WRITTEN)}, DELETE ON TABLE crm_sync.tombstones {to}",
        "-- How many requests at a time each worker has.",
        f"GRANT {_three(PERMITS, PERMITS, PERMITS)}, DELETE ON TABLE crm_sync.permits {to}",
        "-- What is wrong, and who was told.",
        *(f"GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE {table} {to}" for table in ALERT_TABLES),
        f"GRANT SELECT, INSERT, UPDATE (worker) ON TABLE crm_sync.alert_duty {to}",
        "-- How far `crm-sync match` is.",
        f"GRANT SELECT, INSERT, UPDATE ON TABLE crm_sync.matching {to}",
        "-- Which workers live.",
        f"GRANT {_three(WORKERS_READ, WORKERS_WRITTEN, WORKERS_CHANGED)}, DELETE ON TABLE crm_sync.workers {to}",
        f"GRANT SELECT ON TABLE crm_sync.living_workers {to}",
        f"GRANT USAGE ON SEQUENCE crm_sync.workers_id_seq {to}",
        "-- What became of each contact, and what happened to lanes and workers.",
        f"GRANT SELECT, INSERT, UPDATE{_columns(HISTORY_FORGOTTEN)} ON TABLE crm_sync.history {to}",
        f"GRANT SELECT, INSERT, UPDATE ON TABLE crm_sync.minutes {to}",
        f"GRANT SELECT, INSERT ON TABLE crm_sync.events {to}",
        f"GRANT SELECT ON TABLE {', '.join(VIEWS)} {to}",
        f"GRANT EXECUTE ON FUNCTION {', '.join(FUNCTIONS)} {to}",
        "-- How many contacts are in which state, how far a worker is, and why a contact is where it is.",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE {', '.join(TELLING)} {to}",
        f"GRANT SELECT ON TABLE crm_sync.pace {to}",
        *(f"GRANT EXECUTE ON FUNCTION crm_sync.{function} {to}" for function in TELLING_FUNCTIONS),
        "-- Whether all migrations are applied, for `crm-sync check`.",
        f"GRANT SELECT ON TABLE {tables} {to}",
    ]


def for_application(schema: Schema, target: Mapping[str, Any], role: str) -> list[str]:
    to = f"TO {quote(role)};"
    contacts = schema.table.name
    statuses = [lane.variables["sync_status"] for lane in schema.lanes.values()]
    return [
        "-- To flip, and to see what became of it. Nothing on schema crm_sync: the triggers need none.",
        "-- What the application needs for its own columns comes on top, and so does INSERT.",
        f"GRANT CONNECT ON DATABASE {quote(target['database'])} {to}",
        f"GRANT USAGE ON SCHEMA {_quoted([target['namespace'], *target['type_namespaces']])} {to}",
        f"GRANT SELECT{_columns([*_keys(schema), *_own_columns(schema)])} ON TABLE {contacts} {to}",
        f"GRANT UPDATE{_columns(statuses)} ON TABLE {contacts} {to}",
    ]


def for_console(schema: Schema, target: Mapping[str, Any], role: str, mapped: Sequence[Mapping[str, Any]] | None) -> list[str]:
    """mapped: what is shown of a revealed contact; None: the role only reads, and reveals no contacts."""
    to = f"TO {quote(role)};"
    contacts = schema.table.name
    emails = [lane.variables["email"] for lane in schema.lanes.values()]
    statuses = [lane.variables["sync_status"] for lane in schema.lanes.values()]
    looked_at = (*(f"crm_sync.{table}" for table in CONSOLE_READ), *(lane.variables["line"] for lane in schema.lanes.values()))
    namespaces = {row["namespace"] for row in mapped or ()} - {target["namespace"]}
    statements = [
        "-- To look.",
        f"GRANT CONNECT ON DATABASE {quote(target['database'])} {to}",
        f"GRANT USAGE ON SCHEMA {_quoted({'crm_sync', target['namespace'], *target['type_namespaces']})} {to}",
        f"GRANT SELECT{_columns(['ctid', 'xmax', *_keys(schema), *emails, *_own_columns(schema)])} ON TABLE {contacts} {to}",
        f"GRANT SELECT ON TABLE {', '.join(looked_at)} {to}",
        f"GRANT EXECUTE ON FUNCTION crm_sync.other_retries(text, text) {to}",
        *(f"GRANT EXECUTE ON FUNCTION crm_sync.{function} {to}" for function in TELLING_FUNCTIONS),
        f"GRANT EXECUTE ON FUNCTION crm_sync.key_name(text) {to}",
    ]
    if mapped is None:
        return statements
    return [
        *statements,
        "-- To flip, and to pause.",
        f"GRANT UPDATE{_columns(statuses)} ON TABLE {contacts} {to}",
        f"GRANT UPDATE{_columns(PAUSED)} ON TABLE crm_sync.lanes {to}",
        "-- Who did what.",
        f"GRANT INSERT ON TABLE crm_sync.events {to}",
        "-- To ask a CRM about its fields, within its limits.",
        f"GRANT INSERT, UPDATE ON TABLE crm_sync.budgets {to}",
        "-- What was asked for with an Idempotency-Key.",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE crm_sync.requests {to}",
        "-- What would be sent of a contact that is revealed.",
        *([f"GRANT USAGE ON SCHEMA {_quoted(namespaces)} {to}"] if namespaces else []),
        *_read_by_mapping(target, {}, contacts, mapped, to),
        *_emptied(_sent_columns(schema), contacts, to),
        *_policy(schema, target, role),
    ]


def _read_by_mapping(
    target: Mapping[str, Any], read: dict[str, list[str]], contacts: str, mapped: Sequence[Mapping[str, Any]], to: str
) -> list[str]:
    """read: other columns to be read, by table; the mapping's are added."""
    for row in mapped:
        if row["relation"] is not None:
            columns = read.setdefault(_relation(row, target, contacts), [])
            columns += [quote(row["attribute"])] if row["attribute"] is not None else []
    functions = sorted(row["function"] for row in mapped if row["function"] is not None)
    return [
        *(f"GRANT SELECT{_columns(columns)} ON TABLE {relation} {to}" for relation, columns in read.items()),
        *(f"GRANT EXECUTE ON FUNCTION {function} {to}" for function in functions),
    ]


def _relation(row: Mapping[str, Any], target: Mapping[str, Any], contacts: str) -> str:
    if (row["namespace"], row["relation"]) == (target["namespace"], target["relation"]):
        return contacts
    return f"{quote(row['namespace'])}.{quote(row['relation'])}"


def _policy(schema: Schema, target: Mapping[str, Any], role: str) -> list[str]:
    """A row hidden from a worker is never delivered, without any sign. Undo finds the policy by its name."""
    if not target["has_row_security"]:
        return []
    policy, table = quote(f"crm_sync_{role}"), schema.table.name
    return [
        "-- Row level security: every row.",
        f"DROP POLICY IF EXISTS {policy} ON {table};",
        f"CREATE POLICY {policy} ON {table} TO {quote(role)} USING (true) WITH CHECK (true);",
    ]


def _clearing(to: str | None) -> list[str]:
    """to: None if no field is emptied in any CRM."""
    if to is None:
        return []
    return [
        "-- Which fields are emptied.",
        f"GRANT SELECT, INSERT ON TABLE crm_sync.fields {to}",
        f"GRANT EXECUTE ON FUNCTION crm_sync.number_fields(text, text[]) {to}",
    ]


def _emptied(columns: Sequence[str], contacts: str, to: str) -> list[str]:
    """What a delivery empties is shown, too."""
    if not columns:
        return []
    return [f"GRANT SELECT{_columns(columns)} ON TABLE {contacts} {to}", f"GRANT SELECT ON TABLE crm_sync.fields {to}"]


def _sent_columns(schema: Schema) -> list[str]:
    """For CRMs where fields may be emptied."""
    return [
        lane.variables[name]
        for crm, lane in schema.lanes.items()
        for name, column in (("sent_fields", column_of(crm)), ("sent_to", record_column_of(crm)))
        if column in schema.table.types
    ]


def _own_columns(schema: Schema) -> list[str]:
    """The worker's columns, quoted: for each CRM, and the roll-up over all."""
    of_lanes = [lane.variables[name] for lane in schema.lanes.values() for name in (*OWN_COLUMNS, "remote_id")]
    return [*ROLL_UP, *of_lanes]


def _keys(schema: Schema) -> list[str]:
    return [lane.variables["id"] for lane in schema.lanes.values()]


def _columns(names: Iterable[str]) -> str:
    """Columns, one per line, without duplicates; empty, which means all, if there are none."""
    lines = ",\n    ".join(dict.fromkeys(names))
    return f" (\n    {lines}\n)" if lines else ""


def _three(read: Iterable[str], inserted: Iterable[str], updated: Iterable[str]) -> str:
    return f"SELECT{_columns(read)}, INSERT{_columns(inserted)}, UPDATE{_columns(updated)}"


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(map(quote, sorted(set(names))))
