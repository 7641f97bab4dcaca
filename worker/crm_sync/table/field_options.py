"""One field in MAPPING_FILE: an SQL expression, or a table with an expression and options.

phone = "phone"
phone = { sql = "phone", empty = "clear" }
"""

from typing import NamedTuple

from crm_sync.errors import ConfigurationError

KEEP, CLEAR = "keep", "clear"  # what becomes of the CRM's value when the row has none


class FieldOptions(NamedTuple):
    """empty: KEEP or CLEAR; None where <CRM>_EMPTY decides."""

    sql: str
    empty: str | None = None


def read_field(crm: str, name: str, value: object) -> FieldOptions:
    """Raises ConfigurationError naming what is wrong."""
    where = f"MAPPING_FILE: {crm}.{name}"
    table = value if isinstance(value, dict) else {"sql": value}
    if unknown := sorted(table.keys() - {*FieldOptions._fields}):
        raise ConfigurationError(f"{where}: unknown option {unknown[0]}; the options are {', '.join(FieldOptions._fields)}")
    sql = table.get("sql")
    if not isinstance(sql, str) or not sql.strip():
        raise ConfigurationError(f"{where}: expected an SQL expression in quotes")
    empty = table.get("empty")
    if empty not in (None, KEEP, CLEAR):
        raise ConfigurationError(f'{where}: empty must be "{KEEP}" or "{CLEAR}"')
    if empty == CLEAR and name.lower() == "email":
        raise ConfigurationError(f'{where}: the address is never cleared: take out empty = "{CLEAR}"')
    return FieldOptions(sql, empty)
