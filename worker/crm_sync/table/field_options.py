"""One field in MAPPING_FILE: an SQL expression, or a table with an expression and options.

phone = "phone"
phone = { sql = "phone", empty = "clear" }
emailBlacklisted = { sql = "opted_out", subscribe = true }
"""

from typing import NamedTuple

from crm_sync.errors import ConfigurationError

KEEP, CLEAR = "keep", "clear"  # what becomes of the CRM's value when the row has none


class FieldOptions(NamedTuple):
    """empty: KEEP or CLEAR; None where <CRM>_EMPTY decides. subscribe: the field may opt in someone who has opted out."""

    sql: str
    empty: str | None = None
    subscribe: bool = False


def read_field(crm: str, name: str, value: object) -> FieldOptions:
    """Raises ConfigurationError naming what is wrong."""
    where = f"MAPPING_FILE: {crm}.{name}"
    table = value if isinstance(value, dict) else {"sql": value}
    if unknown := sorted(table.keys() - {*FieldOptions._fields}):
        raise ConfigurationError(f"{where}: unknown option {unknown[0]}; the options are {', '.join(FieldOptions._fields)}")
    sql = table.get("sql")
    if not isinstance(sql, str) or not sql.strip():
        raise ConfigurationError(f"{where}: expected an SQL expression in quotes")
    empty, subscribe = table.get("empty"), table.get("subscribe", False)
    if empty not in (None, KEEP, CLEAR):
        raise ConfigurationError(f'{where}: empty must be "{KEEP}" or "{CLEAR}"')
    if empty == CLEAR and name.lower() == "email":
        raise ConfigurationError(f'{where}: the address is never cleared: take out empty = "{CLEAR}"')
    if not isinstance(subscribe, bool):
        raise ConfigurationError(f"{where}: subscribe must be true or false")
    return FieldOptions(sql, empty, subscribe)
