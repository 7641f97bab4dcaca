"""crm-sync errors: what a code means, and what to do."""

import click
from rich.table import Table

from crm_sync.core.codes import NO_CODE, NO_CODE_MEANING, NO_CODE_REMEDY, Code
from crm_sync.reports.completing import code_names
from crm_sync.reports.layout import console, labelled, name, prose


@click.command()
@click.argument("code", required=False, shell_complete=code_names)
def errors(code: str | None) -> None:
    """Explains CODE, or all codes: what they mean, what to do, and whether crm-sync tries again by itself.

    A code begins the text in processing_error, and is in the log.

    \b
    Example:
      crm-sync errors DUPLICATE
    """
    if code is None:
        console().print(_table())
        return
    wanted = code.strip().partition(":")[0].upper()
    if wanted == NO_CODE:
        click.echo(NO_CODE)
        for label, text in (("meaning", NO_CODE_MEANING), ("to do", NO_CODE_REMEDY)):
            click.echo(labelled(label, text))
        return
    if wanted not in Code.__members__:
        raise click.BadParameter(
            f"{wanted} is not a code of crm-sync; without a code, `crm-sync errors` lists all", param_hint="CODE"
        )
    entry = Code[wanted]
    click.echo(entry)
    for label, text in (("meaning", entry.meaning), ("to do", entry.remedy), ("retried", _when(entry)), ("more", entry.page)):
        click.echo(labelled(label, text))


def _table() -> Table:
    table = Table(name("code"), prose("meaning"), prose("what to do"), name("retried"))
    for lane in (False, True):
        for code in Code:
            if code.lane is lane:
                table.add_row(code.value, code.meaning, code.remedy, "yes" if code.retried else "no")
        table.add_section()
    return table


def _when(code: Code) -> str:
    if code.lane:
        return "by itself: the lane waits until it works again, and no contact is marked"
    return "by itself, until the retries are used up" if code.retried else "no: it waits for you"
