"""The CRM that a person names, of those that are installed."""

from collections.abc import Collection

import click


def installed(crm: str, crms: Collection[str], hint: str = "CRM") -> str:
    """Its name, whatever case and whitespace it was written with. Raises click.BadParameter with those that there are."""
    name = crm.strip().lower()
    if name not in crms:
        raise click.BadParameter(
            f"{crm} is not installed on the contacts table; these are: {', '.join(crms) or 'none'}", param_hint=hint
        )
    return name
