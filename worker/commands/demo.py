"""crm-sync demo."""

import click


@click.command()
def demo() -> None:
    """Runs it."""
