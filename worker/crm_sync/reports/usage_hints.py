"""How to put a command line right that a command does not take: what to add to the message of click."""

from collections.abc import Collection
from difflib import get_close_matches

import click

EXTRA = "Got unexpected extra argument"
_NAMED_BY = {"--crm": "a CRM with --crm CRM", "--key": "a contact with --key KEY", "--email": "or --email ADDRESS"}


def hint(error: click.UsageError) -> str | None:
    """What is named by itself in this command but was given as an option, or the other way round."""
    if error.ctx is None:
        return None
    command = error.ctx.command
    if isinstance(error, click.NoSuchOption):
        for parameter in command.params:
            if isinstance(parameter, click.Argument) and error.option_name == f"--{parameter.name}":
                metavar = parameter.make_metavar(error.ctx).strip("[]")
                return f"It is named without an option: {error.ctx.command_path} {metavar}"
        return None
    if not error.message.startswith(EXTRA):
        return None
    options = {name for parameter in command.params for name in parameter.opts}
    named = [words for option, words in _NAMED_BY.items() if option in options]
    return f"Name {', '.join(named).replace(', or', ' or')}." if named else None


def nearest(name: str, names: Collection[str]) -> str | None:
    """The one that may be meant."""
    return next(iter(get_close_matches(name.lower(), names, 1)), None)
