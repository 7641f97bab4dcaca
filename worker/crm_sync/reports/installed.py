"""The installed CRM that a person names."""

from collections.abc import Collection

import click

from crm_sync.crm.registry import known
from crm_sync.reports.usage_hints import nearest


def installed(crm: str, crms: Collection[str], hint: str = "CRM") -> str:
    """Its name, ignoring case and whitespace. Raises click.BadParameter that says what to do, with the installed CRMs."""
    name = crm.strip().lower()
    if name not in crms:
        raise click.BadParameter(_why_not(crm, name, crms), param_hint=hint)
    return name


def _why_not(crm: str, name: str, crms: Collection[str]) -> str:
    clients = known()
    if name not in clients and (near := nearest(name, [*crms, *clients])):
        return f"there is no CRM {crm}; did you mean {near}?"
    adds = f" (crm-sync adopt --crm {name} adds it)" if name in clients else ""
    return f"{crm} is not installed on the contacts table{adds}; these are: {', '.join(crms) or 'none'}"
