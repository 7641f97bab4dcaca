"""What is sent: for each CRM a list of `CRM field = SQL expression over the contacts row`, from a TOML file.

    [brevo]
    email = "lower(email)"
    FIRSTNAME = "split_part(name, ' ', 1)"

`email` is the address a contact is known by, and the column that the table was adopted with unless said otherwise. A section
replaces the defaults of its CRM.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from crm_sync.errors import ConfigurationError
from crm_sync.postgres.pool import Database, reason
from crm_sync.postgres.statements import quote
from crm_sync.table.contacts import AdoptedTable

# Types that JSON has; all others are sent as Postgres writes them.
_PLAIN = {
    "bool",
    "int2",
    "int4",
    "int8",
    "float4",
    "float8",
    "text",
    "varchar",
    "bpchar",
    "text[]",
    "varchar[]",
}
_NUMBERS = {"numeric"}


@dataclass(frozen=True, slots=True)
class FieldMapping:
    """SQL expressions over a row of the contacts table."""

    email: str
    fields: Mapping[str, str]


def read_file(path: Path | None) -> dict[str, dict[str, str]]:
    """The sections of the file. Raises ConfigurationError naming what is wrong."""
    if path is None:
        return {}
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"MAPPING_FILE: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"MAPPING_FILE: is no TOML: {error}") from error
    for crm, section in content.items():
        if not isinstance(section, dict):
            raise ConfigurationError(f"MAPPING_FILE: {crm} stands outside of a section such as [brevo]")
        for name, expression in section.items():
            if not isinstance(expression, str) or not expression.strip():
                raise ConfigurationError(f"MAPPING_FILE: {crm}.{name}: expected an SQL expression in quotes")
    return content


def defaults(fields: Mapping[str, str], table: AdoptedTable) -> dict[str, str]:
    """Those default fields whose column the table has."""
    return {
        "email": quote(table.email),
        **{field: quote(column) for field, column in fields.items() if column in table.types},
    }


async def prepare_for(
    database: Database,
    crm: str,
    sections: Mapping[str, Mapping[str, str]],
    default_fields: Mapping[str, str],
    table: AdoptedTable,
) -> FieldMapping:
    """What is sent to a CRM: its section of the file, or else the defaults. Raises as prepare does."""
    return await prepare(database, crm, sections.get(crm) or defaults(default_fields, table), table)


async def prepare(database: Database, crm: str, section: Mapping[str, str], table: AdoptedTable) -> FieldMapping:
    """Has Postgres parse every expression, and sees to it that each value fits JSON.

    Raises ConfigurationError naming the first wrong expression.
    """
    expressions = {"email": quote(table.email), **section}
    checked = {name: await _prepare_one(database, f"{crm}.{name}", text, table.name) for name, text in expressions.items()}
    email = checked.pop("email")
    return FieldMapping(f"({email})::text", checked)


async def _prepare_one(database: Database, field: str, expression: str, table: str) -> str:
    async with database.connection() as connection:
        try:
            statement = await connection.prepare(f"SELECT ({expression}) FROM {table}")  # noqa: S608 (a person's own SQL)
        except (asyncpg.SyntaxOrAccessError, asyncpg.DataError, asyncpg.FeatureNotSupportedError) as error:
            raise ConfigurationError(
                f"mapping of {field}: {reason(error)}. It must be one SQL expression over the columns of {table}"
            ) from error
        kind = statement.get_attributes()[0].type.name
    if kind in _PLAIN:
        return f"({expression})"
    return f"({expression})::float8" if kind in _NUMBERS else f"({expression})::text"
