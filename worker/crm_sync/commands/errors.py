"""crm-sync errors: what a code means, and what to do."""

import click
from rich.console import Console
from rich.table import Table

from crm_sync.core.codes import Code


@click.command()
@click.argument("code", required=False)
def errors(code: str | None) -> None:
    """Explains CODE, or all codes: what they mean, what to do, and whether crm-sync tries again by itself.

    A code begins the text in processing_error, and stands in the log.
    """
    if code is None:
        Console().print(_table())
        return
    wanted = code.strip().partition(":")[0].upper()
    if wanted not in Code.__members__:
        raise click.BadParameter(
            f"{wanted} is no code of crm-sync; without a code, `crm-sync errors` lists all", param_hint="CODE"
        )
    entry = Code[wanted]
    click.echo(f"{entry}\n  meaning  {entry.meaning}\n  to do    {entry.remedy}\n  {_when(entry)}")


def _table() -> Table:
    table = Table()
    table.add_column("code", no_wrap=True)
    table.add_column("meaning", overflow="fold")
    table.add_column("what to do", overflow="fold")
    table.add_column("retried", no_wrap=True)
    for lane in (False, True):
        for code in Code:
            if code.lane is lane:
                table.add_row(code.value, code.meaning, code.remedy, "yes" if code.retried else "no")
        table.add_section()
    return table


def _when(code: Code) -> str:
    if code.lane:
        return "the lane waits and tries again by itself; no contact is marked"
    return "retried  by itself, until the retries are used up" if code.retried else "retried  no: it waits for you"
