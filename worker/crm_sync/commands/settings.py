"""crm-sync settings: every setting, its value and where it comes from."""

import sys

import click
from rich.table import Table
from rich.text import Text

from crm_sync.crm.registry import known
from crm_sync.environment import Environment
from crm_sync.reports.layout import console, name, prose, wrapped
from crm_sync.reports.setting_values import DEFAULT, Group, groups, without_effect


@click.command()
def settings() -> None:
    """Lists every setting, its value, and where it comes from: the environment, .env, a credential of systemd, or the default.

    Keys, tokens, passwords and the paths of webhooks are masked. Errors are below their group, and variables without effect at
    the end. Exits 1 if anything is wrong. It needs no database.

    \b
    Example:
      crm-sync settings
    """
    environment = Environment.capture()
    terminal, well = console(), True
    for group in groups(environment, known()):
        terminal.print(_drawn(group))
        for sentence in group.wrong:
            well = False
            click.echo(wrapped(f"wrong: {sentence}", further="       "))
        click.echo()
    for other in without_effect(environment, known()):
        click.echo(wrapped(other.sentence))
    if not well:
        sys.exit(1)


def _drawn(group: Group) -> Table:
    table = Table(name(group.title), prose("value"), name("from"), box=None, pad_edge=False)
    for one in group.values:
        style = "dim" if one.origin == DEFAULT else ""
        table.add_row(one.name, Text(one.value), one.origin, style=style)
    return table
