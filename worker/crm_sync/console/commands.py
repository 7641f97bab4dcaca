"""What a button does, as SQL and as a command, for people who would rather see it, or do it elsewhere."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from crm_sync.api.contact_models import State, Wish
from crm_sync.api.requests import Filter
from crm_sync.core.codes import OF_DELIVERED


@dataclass(frozen=True, slots=True)
class Same:
    """sql: as an application would write it. command: None if there is none."""

    sql: str
    command: str | None


def literal(text: str) -> str:
    """A text as an SQL literal, whatever it contains."""
    if "\\" in text:
        return "E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
    return "'" + text.replace("'", "''") + "'"


def of_change(variables: Mapping[str, str], crm: str, key: str, wish: Wish, *, failed: bool) -> Same:
    """One contact's status."""
    changed = f"UPDATE {variables['contacts_name']}\nSET {variables['sync_status']} = '{wish.value}'"
    sql = f"{changed}\nWHERE {variables['id']} = {literal(key)};"
    command = f"crm-sync retry --crm {crm} --key {shlex.quote(key)}" if failed and wish is Wish.QUEUED else None
    return Same(sql, command)


def of_selection(variables: Mapping[str, str], wish: Wish, wanted: Filter) -> Same:
    """All matching contacts."""
    conditions = []
    if wanted.state is not None:
        conditions.append(f"{variables['sync_status']} = '{wanted.state.value}'")
    if wanted.code is not None:
        conditions.append(f"split_part(left({variables['processing_error']}, 40), ':', 1) = {literal(wanted.code)}")
    where = f"\nWHERE {' AND '.join(conditions)}" if conditions else ""
    return Same(f"UPDATE {variables['contacts_name']}\nSET {variables['sync_status']} = '{wish.value}'{where};", None)


def of_retry(variables: Mapping[str, str], crm: str, code: str) -> Same:
    """Failed contacts of one CRM with one code, or those that were delivered with it."""
    state = State.COMPLETE if code in OF_DELIVERED else State.ERROR
    same = of_selection(variables, Wish.QUEUED, Filter(state=state, code=code))
    return Same(same.sql, f"crm-sync retry --crm {crm} --code {shlex.quote(code)}")


def of_reveal(variables: Mapping[str, str], key: str) -> Same:
    """One contact's address, and what would be sent for it."""
    where = f"FROM {variables['contacts_name']}\nWHERE {variables['id']} = {literal(key)};"
    return Same(f"SELECT {variables['email']}\n{where}", f"crm-sync preview --key {shlex.quote(key)}")


def of_pause(crm: str) -> Same:
    """No worker calls the CRM. The reason is left to the person who pauses."""
    held = "held_since = coalesce(held_since, now()), held_reason = 'why', revision = revision + 1"
    return Same(_of_lane(crm, held), f"crm-sync pause {crm} --reason 'why'")


def of_resume(crm: str) -> Same:
    """It is called again."""
    return Same(_of_lane(crm, "held_since = NULL, held_reason = NULL, revision = revision + 1"), f"crm-sync resume {crm}")


def _of_lane(crm: str, changed: str) -> str:
    """All workers are notified at once."""
    news = literal(f"news {crm}")
    return f"UPDATE crm_sync.lanes\nSET {changed}\nWHERE crm = {literal(crm)};\nSELECT pg_notify('crm_sync', {news});"
