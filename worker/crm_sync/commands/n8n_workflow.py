"""crm-sync n8n-workflow: the ready workflow."""

from importlib.resources import files

import click


@click.command("n8n-workflow")
def n8n_workflow() -> None:
    """Prints a complete n8n workflow: it checks the signature, handles a flip once, and answers for each contact.

    Import it in n8n (or with `n8n import:workflow`), choose its two credentials, add your nodes where its notes say, and publish
    it.

    \b
    Example:
      crm-sync n8n-workflow > workflow.json
    """
    click.echo(files("crm_sync.crm.n8n").joinpath("workflow.json").read_text(encoding="utf-8"), nl=False)
