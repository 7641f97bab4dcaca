"""What a button does, as SQL and as a command, for people who would rather see it, or do it elsewhere."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from crm_sync.api.models import Filter, Wish


@dataclass(frozen=True, slots=True)
class Same:
    """sql: as an application writes it. command: None where there is none."""

    sql: str
    command: str | None


def literal(text: str) -> str:
    """A text in SQL, whatever is in it."""
    if "\\" in text:
        return " E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
    return "'" + text.replace("'", "''") + "'"


def of_change(variables: Mapping[str, str], crm: str, key: str, wish: Wish, *, failed: bool) -> Same:
    """One contact's status."""
    changed = f"UPDATE {variables['contacts']}\nSET {variables['sync_status']} = '{wish.value}'"
    sql = f"{changed}\nWHERE {variables['id']} = {literal(key)};"
    command = f"crm-sync retry --crm {crm} --key {shlex.quote(key)}" if failed and wish is Wish.QUEUED else None
    return Same(sql, command)


def of_selection(variables: Mapping[str, str], wish: Wish, wanted: Filter) -> Same:
    """All that match."""
    conditions = []
    if wanted.state is not None:
        conditions.append(f"{variables['sync_status']} = '{wanted.state.value}'")
    if wanted.code is not None:
        conditions.append(f"split_part(left({variables['processing_error']}, 40), ':', 1) = {literal(wanted.code)}")
    where = f"\nWHERE {' AND '.join(conditions)}" if conditions else ""
    return Same(f"UPDATE {variables['contacts']}\nSET {variables['sync_status']} = '{wish.value}'{where};", None)


def of_retry(crm: str, code: str) -> str:
    """Failed contacts of one CRM with one code."""
    return f"crm-sync retry --crm {crm} --code {shlex.quote(code)}"
