"""The columns, and the functions, that the mapping of a CRM reads."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from crm_sync.configuration import Configuration
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query, render
from crm_sync.table.field_options import read_field
from crm_sync.table.mapping import prepare_for
from crm_sync.table.schema import Schema

VIEW = "pg_temp.crm_sync_mapping"  # the name in create_view.sql

_LITERAL = re.compile(r"'(?:[^']|'')*'")
_WHOLE_ROW = re.compile(r"[\w\"]\.\*")


async def columns_read(database: Database, schema: Schema, configuration: Configuration, crm: str) -> list[str]:
    """The columns of the contacts table that the mapping of one CRM reads, in table order. Raises ConfigurationError."""
    target = dict((await database.fetch(query("describe_role"), ""))[0])
    rows = await columns_of_mapping(database, schema, configuration, target, [crm])
    names = {row["attribute"] for row in rows if (row["namespace"], row["relation"]) == (target["namespace"], target["relation"])}
    return [name for name in schema.table.types if name in names]


async def columns_of_mapping(
    database: Database, schema: Schema, configuration: Configuration, target: Mapping[str, Any], crms: Iterable[str]
) -> list[Mapping[str, Any]]:
    """Rows of list_references.sql, for these CRMs. target: as describe_role.sql has it. Raises ConfigurationError that names a
    wrong expression.
    """
    expressions: list[str] = []
    for crm in crms:
        section = configuration.mapping.get(crm) or {}
        # Converting the values needs no rights.
        plain = {crm: {name: read_field(crm, name, value).sql for name, value in section.items()}}
        mapping = await prepare_for(database, crm, plain, configuration.default_fields(crm), schema)
        expressions += [mapping.email, *mapping.fields.values()]
    columns = ",\n    ".join(f"{expression} AS c{number}" for number, expression in enumerate(expressions))
    async with database.connection() as connection:
        # Postgres itself knows best which columns an expression reads, and records them for views. This view is never visible to
        # other sessions.
        transaction = connection.transaction()
        await transaction.start()
        try:
            await connection.execute(render("create_view", {"mapped": columns, "contacts": schema.table.name}))
            rows: list[Mapping[str, Any]] = [dict(row) for row in await connection.fetch(query("list_references"), VIEW)]
            definition = await connection.fetchval(query("read_view"), VIEW)
        finally:
            await transaction.rollback()
    if _WHOLE_ROW.search(_LITERAL.sub("", definition)):
        # For a whole row it records no columns.
        table = {"namespace": target["namespace"], "relation": target["relation"]}
        rows += [{**table, "attribute": name, "function": None} for name in schema.table.types]
    return rows
