"""Shell completion of CRMs and codes."""

import click

from crm_sync.core.codes import Code
from crm_sync.crm.registry import known


def crm_names(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    return [crm for crm in known() if crm.startswith(incomplete.lower())]


def code_names(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    return [code.value for code in Code if code.startswith(incomplete.upper())]
