"""One field in MAPPING_FILE: an SQL expression, or a table with an expression and options.

phone = "phone"
phone = { sql = "phone", empty = "clear" }
phone = { sql = "phone", set = "if_empty" }
emailBlacklisted = { sql = "opted_out", subscribe = true }
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from crm_sync.core.values import Forms
from crm_sync.errors import ConfigurationError

KEEP, CLEAR = "keep", "clear"  # what happens to the CRM's value if the row has none
IF_EMPTY = "if_empty"


class FieldOptions(NamedTuple):
    """empty: KEEP or CLEAR; None where <CRM>_EMPTY decides. subscribe: the field may opt in someone who has opted out. set:
    IF_EMPTY where it is sent only if the CRM has no value; else None.
    """

    sql: str
    empty: str | None = None
    subscribe: bool = False
    set: str | None = None


def read_field(crm: str, name: str, value: object) -> FieldOptions:
    """Raises ConfigurationError naming what is wrong."""
    where = f"MAPPING_FILE: {crm}.{name}"
    table = value if isinstance(value, dict) else {"sql": value}
    if unknown := sorted(table.keys() - {*FieldOptions._fields}):
        raise ConfigurationError(f"{where}: unknown option {unknown[0]}; the options are {', '.join(FieldOptions._fields)}")
    sql = table.get("sql")
    if not isinstance(sql, str) or not sql.strip():
        raise ConfigurationError(f"{where}: expected an SQL expression in quotes")
    empty, subscribe, sets = table.get("empty"), table.get("subscribe", False), table.get("set")
    if empty not in (None, KEEP, CLEAR):
        raise ConfigurationError(f'{where}: empty must be "{KEEP}" or "{CLEAR}"')
    if empty == CLEAR and name.lower() == "email":
        raise ConfigurationError(f'{where}: the address is never cleared: remove empty = "{CLEAR}"')
    if not isinstance(subscribe, bool):
        raise ConfigurationError(f"{where}: subscribe must be true or false")
    if sets not in (None, IF_EMPTY):
        raise ConfigurationError(f'{where}: set must be "{IF_EMPTY}"')
    if sets is not None and name.lower() == "email":
        raise ConfigurationError(f'{where}: the address is always sent: remove set = "{IF_EMPTY}"')
    return FieldOptions(sql, empty, subscribe, sets)


def require_possible(crm: str, asked: Mapping[str, FieldOptions], forms: Forms, empty: str, required: Mapping[str, str]) -> None:
    """That what the mapping asks for can be done at this CRM. empty, required: as in `crm_sync.table.mapping.prepare_for`.

    Raises ConfigurationError naming the first field or setting at fault.
    """
    _require_distinct(crm, asked, forms)
    for name, one in asked.items():
        where = f"MAPPING_FILE: {crm}.{name}"
        known = forms.member(name)
        if one.subscribe and (known is None or forms.members[known].opt_outs is None):
            raise ConfigurationError(f"{where}: {_no_subscribe(crm, forms, is_member=known is not None)}")
        if one.empty == CLEAR and known is not None:
            raise ConfigurationError(f'{where}: consent, lists and tags cannot be cleared: remove empty = "{CLEAR}"')
        if one.empty == CLEAR and not forms.clears:
            raise ConfigurationError(f'{where}: the client of {crm} cannot clear fields: remove empty = "{CLEAR}"')
        if one.set is not None and known is not None:
            raise ConfigurationError(f'{where}: consent, lists and tags are not fields: remove set = "{IF_EMPTY}"')
        if one.set is not None and not forms.looks_first:
            raise ConfigurationError(
                f'{where}: set = "{IF_EMPTY}" is not possible at {crm}, because crm-sync does not read a contact there before it '
                f"writes it: remove the option to always send {name}, or remove the field from the mapping"
            )
    if empty == CLEAR and not forms.clears:
        raise ConfigurationError(f"{crm.upper()}_EMPTY: the client of {crm} cannot clear fields: unset it, or set it to {KEEP}")
    sent = {forms.spelled(name) for name in asked}
    for field, setting in required.items():
        if forms.spelled(field) not in sent:
            raise ConfigurationError(
                f"{setting}: the mapping of {crm} does not send {field}, by which contacts are to be matched: add {field} to "
                f"[{crm}] in MAPPING_FILE, or unset {setting}"
            )


def _require_distinct(crm: str, names: Iterable[str], forms: Forms) -> None:
    seen: dict[str, str] = {}
    for name in names:
        spelled = forms.member(name) or forms.spelled(name)
        if spelled == forms.spelled("email") and name != "email":
            raise ConfigurationError(
                f"MAPPING_FILE: {crm}.{name}: the address is called email here: write email instead of {name}"
            )
        if (other := seen.setdefault(spelled, name)) != name:
            raise ConfigurationError(
                f"MAPPING_FILE: {crm}.{other} and {crm}.{name} are the same field of {crm}: remove one of them"
            )


def _no_subscribe(crm: str, forms: Forms, *, is_member: bool) -> str:
    consent = [name for name, member in forms.members.items() if member.opt_outs is not None]
    why = "it never opts anybody in" if is_member else "it is not consent"
    where = f"subscribe is for {' and '.join(consent)}" if consent else f"the client of {crm} has no field for consent"
    return f"{why}, and {where}: remove subscribe"
