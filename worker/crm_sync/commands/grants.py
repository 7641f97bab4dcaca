"""crm-sync grants: the rights that a role needs, and no others."""

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

from crm_sync.crm.brevo import client as brevo
from crm_sync.crm.hubspot import client as hubspot
from crm_sync.crm.mautic import client as mautic
from crm_sync.crm.n8n import client as n8n
from crm_sync.crm.registry import known
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query, quote
from crm_sync.settings import Settings, read
from crm_sync.table.contacts import OWN_COLUMNS
from crm_sync.table.mapping import prepare_for, read_file
from crm_sync.table.schema import ROLL_UP, Schema, read_schema

VIEW = "crm_sync_mapping"

# Asked of nobody's credentials: the rights are often granted before there are any.
DEFAULT_FIELDS: Mapping[str, Mapping[str, str]] = {
    "hubspot": hubspot.DEFAULT_FIELDS,
    "brevo": brevo.DEFAULT_FIELDS,
    "mautic": mautic.DEFAULT_FIELDS,
    "n8n": n8n.DEFAULT_FIELDS,
}

# What the statements of sql/queries read and write there.
LANES_WRITTEN = ("breaker", "breaker_since", "breaker_reason", "next_probe_at", "openings", "revision")
LANES_READ = ("id", "crm", "remote_id_column", "installed", *LANES_WRITTEN, "held_since", "held_reason", "on_delete")
BUDGETS = ("crm", "budget")
TOMBSTONES_WRITTEN = ("due_at", "attempts", "error", "claimed_by")
WORKERS_READ = ("id", "host", "pid", "version", "started_at")
WORKERS_WRITTEN = ("id", "host", "pid", "version")

MIGRATION_TABLES = ("_crm_sync_migration", "_yoyo_version")

_LITERAL = re.compile(r"'(?:[^']|'')*'")
_WHOLE_ROW = re.compile(r"[\w\"]\.\*")


@click.command()
@click.argument("role")
@click.option("--application", is_flag=True, help="The rights of an application that flips, instead of a worker's.")
def grants(*, role: str, application: bool) -> None:
    """Prints the GRANTs, for psql, that ROLE needs to run a worker on this database. Changes nothing.

    Column by column: a worker reads its key, what the mapping sends and its own columns, and writes its own only. Run it as the
    owner of the table, and again after a change of the mapping or a new CRM.
    """
    settings = read(Settings)
    statements, notes = asyncio.run(_read(settings, role, application=application))
    click.echo("\n".join(statements))
    for note in notes:
        click.echo(note, err=True)


async def _read(settings: Settings, role: str, *, application: bool) -> tuple[list[str], list[str]]:
    """(statements, what a person should know beside them). Raises ConfigurationError or DatabaseTroubleError."""
    async with Database(settings.database_url, size=1, behind_pooler=settings.database_behind_pooler) as database:
        schema = await read_schema(database)
        places = dict((await database.fetch(query("find_places"), role))[0])
        if application:
            statements = _for_application(schema, places, role)
        else:
            statements = _for_worker(schema, places, role, await _mapped(database, schema, settings, places, schema.lanes))
    notes = []
    if not places["role_exists"]:
        notes.append(f"There is no role {role} yet: CREATE ROLE {quote(role)} LOGIN;")
    return statements, notes


def _for_worker(schema: Schema, places: Mapping[str, Any], role: str, mapped: Sequence[Mapping[str, Any]]) -> list[str]:
    to = f"TO {quote(role)};"
    contacts = schema.table.name
    own = _own_columns(schema)
    emails = [lane.variables["email"] for lane in schema.lanes.values()]
    namespaces = {"crm_sync", places["namespace"], *places["type_namespaces"], *(row["namespace"] for row in mapped)}
    # By ctid the statements find again what they have locked.
    read: dict[str, list[str]] = {contacts: ["ctid", *_keys(schema), *emails, *own]}
    for row in mapped:
        if row["relation"] is not None:
            columns = read.setdefault(_relation(row, places, contacts), [])
            columns += [quote(row["attribute"])] if row["attribute"] is not None else []
    functions = sorted(row["function"] for row in mapped if row["function"] is not None)
    statements = [
        f"GRANT CONNECT ON DATABASE {quote(places['database'])} {to}",
        f"GRANT USAGE ON SCHEMA {_quoted(namespaces)} {to}",
        *(f"GRANT SELECT{_columns(columns)} ON TABLE {relation} {to}" for relation, columns in read.items()),
        *(f"GRANT EXECUTE ON FUNCTION {function} {to}" for function in functions),
        f"GRANT UPDATE{_columns(own)} ON TABLE {contacts} {to}",
        *_policy(schema, places, role),
        "-- Which table it is.",
        f"GRANT SELECT ON TABLE crm_sync.adopted {to}",
        "-- Which CRMs there are, whether they may be called, and what is used of their limits.",
        f"GRANT SELECT{_columns(LANES_READ)}, UPDATE{_columns(LANES_WRITTEN)} ON TABLE crm_sync.lanes {to}",
        f"GRANT SELECT{_columns(BUDGETS)}, INSERT{_columns(BUDGETS)}, UPDATE{_columns(BUDGETS)} ON TABLE crm_sync.budgets {to}",
        f"GRANT EXECUTE ON FUNCTION crm_sync.other_retries(text, text) {to}",
        "-- Deleted contacts that a CRM is still to hear of.",
        f"GRANT SELECT, UPDATE{_columns(TOMBSTONES_WRITTEN)}, DELETE ON TABLE crm_sync.tombstones {to}",
        "-- Which workers live.",
        f"GRANT SELECT{_columns(WORKERS_READ)}, INSERT{_columns(WORKERS_WRITTEN)}, DELETE ON TABLE crm_sync.workers {to}",
        f"GRANT USAGE ON SEQUENCE crm_sync.workers_id_seq {to}",
    ]
    tables = ", ".join(f"crm_sync.{table}" for table in MIGRATION_TABLES)
    return [
        *statements,
        "-- Whether all migrations are applied, for `crm-sync check`.",
        f"GRANT SELECT ON TABLE {tables} {to}",
    ]


def _relation(row: Mapping[str, Any], places: Mapping[str, Any], contacts: str) -> str:
    if (row["namespace"], row["relation"]) == (places["namespace"], places["relation"]):
        return contacts
    return f"{quote(row['namespace'])}.{quote(row['relation'])}"


def _policy(schema: Schema, places: Mapping[str, Any], role: str) -> list[str]:
    """A row that a worker does not see is never delivered, and nobody would know. By its name it is found when all is undone."""
    if not places["has_row_security"]:
        return []
    policy, table = quote(f"crm_sync_{role}"), schema.table.name
    return [
        "-- Row level security: every row.",
        f"DROP POLICY IF EXISTS {policy} ON {table};",
        f"CREATE POLICY {policy} ON {table} TO {quote(role)} USING (true) WITH CHECK (true);",
    ]


def _for_application(schema: Schema, places: Mapping[str, Any], role: str) -> list[str]:
    to = f"TO {quote(role)};"
    contacts = schema.table.name
    statuses = [lane.variables["sync_status"] for lane in schema.lanes.values()]
    return [
        "-- To flip, and to see what became of it. Nothing on schema crm_sync: the triggers need none.",
        "-- What the application needs for its own columns comes on top, and so does INSERT.",
        f"GRANT CONNECT ON DATABASE {quote(places['database'])} {to}",
        f"GRANT USAGE ON SCHEMA {_quoted([places['namespace'], *places['type_namespaces']])} {to}",
        f"GRANT SELECT{_columns([*_keys(schema), *_own_columns(schema)])} ON TABLE {contacts} {to}",
        f"GRANT UPDATE{_columns(statuses)} ON TABLE {contacts} {to}",
    ]


async def columns_read(database: Database, schema: Schema, settings: Settings, crm: str) -> list[str]:
    """Those of the contacts table that the mapping of one CRM reads, in the order of the table. Raises ConfigurationError."""
    places = dict((await database.fetch(query("find_places"), ""))[0])
    rows = await _mapped(database, schema, settings, places, [crm])
    names = {row["attribute"] for row in rows if (row["namespace"], row["relation"]) == (places["namespace"], places["relation"])}
    return [name for name in schema.table.types if name in names]


async def _mapped(
    database: Database, schema: Schema, settings: Settings, places: Mapping[str, Any], crms: Iterable[str]
) -> list[Mapping[str, Any]]:
    """What the expressions of the mapping of these CRMs read. Raises ConfigurationError naming a wrong one."""
    sections = read_file(settings.mapping_file)
    expressions: list[str] = []
    for crm in crms:
        mapping = await prepare_for(database, crm, sections, _default_fields(crm), schema.table)
        expressions += [mapping.email, *mapping.fields.values()]
    columns = ", ".join(f"{expression} AS c{number}" for number, expression in enumerate(expressions))
    async with database.connection() as connection:
        # Postgres knows best what an expression reads, and notes it down for views. This one is never there for anybody.
        transaction = connection.transaction()
        await transaction.start()
        try:
            await connection.execute(f"CREATE TEMPORARY VIEW {VIEW} AS SELECT {columns} FROM {schema.table.name}")  # noqa: S608 (prepared above)
            rows: list[Mapping[str, Any]] = [
                dict(row) for row in await connection.fetch(query("list_references"), f"pg_temp.{VIEW}")
            ]
            definition = await connection.fetchval("SELECT pg_get_viewdef($1::text::regclass)", f"pg_temp.{VIEW}")
        finally:
            await transaction.rollback()
    if _WHOLE_ROW.search(_LITERAL.sub("", definition)):
        # Of a whole row it notes down no columns.
        table = {"namespace": places["namespace"], "relation": places["relation"]}
        rows += [{**table, "attribute": name, "function": None} for name in schema.table.types]
    return rows


def _default_fields(crm: str) -> Mapping[str, str]:
    if crm in DEFAULT_FIELDS:
        return DEFAULT_FIELDS[crm]
    account = known()[crm]() if crm in known() else None
    return {} if account is None else account.default_fields


def _own_columns(schema: Schema) -> list[str]:
    """The worker's, quoted: of each CRM, and the roll-up over them."""
    of_lanes = [lane.variables[name] for lane in schema.lanes.values() for name in (*OWN_COLUMNS, "remote_id")]
    return [*ROLL_UP, *of_lanes]


def _keys(schema: Schema) -> list[str]:
    return [lane.variables["id"] for lane in schema.lanes.values()]


def _columns(names: Iterable[str]) -> str:
    """Columns, one a line, each once; nothing, which means all, where there are none."""
    lines = ",\n    ".join(dict.fromkeys(names))
    return f" (\n    {lines}\n)" if lines else ""


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(map(quote, sorted(set(names))))
