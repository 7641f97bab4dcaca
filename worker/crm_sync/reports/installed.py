"""The installed CRM that a person names."""

from collections.abc import Collection

import click


def installed(crm: str, crms: Collection[str], hint: str = "CRM") -> str:
    """Its name, ignoring case and whitespace. Raises click.BadParameter with the installed CRMs."""
    name = crm.strip().lower()
    if name not in crms:
        raise click.BadParameter(
            f"{crm} is not installed on the contacts table; these are: {', '.join(crms) or 'none'}", param_hint=hint
        )
    return name
