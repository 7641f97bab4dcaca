"""crm-sync completion: for interactive shells."""

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_CRM_SYNC_COMPLETE"  # click's name for a command with this name


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(*, shell: str) -> None:
    """Prints the completion of crm-sync for SHELL: commands, options, CRMs and codes.

    bash reads it from ~/.local/share/bash-completion/completions/crm-sync, zsh from _crm-sync in a folder of $fpath, fish from
    ~/.config/fish/completions/crm-sync.fish.

    \b
    Example:
      crm-sync completion fish > ~/.config/fish/completions/crm-sync.fish
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"no completion for {shell}")
    script = kind(click.Group(), {}, "crm-sync", VARIABLE)
    # Not kind.source(): for bash, that starts a bash to check its version.
    click.echo(script.source_template % script.source_vars())
