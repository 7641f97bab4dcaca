"""Every command, from what click prints about it."""

from collections.abc import Callable, Iterator, Mapping

import click

from crm_sync.cli import COMMANDS, SECTIONS
from crm_sync.cli import crm_sync as program
from docs.generate.tables import code, sentence, table, wrapped

EXAMPLE = "\b"  # marks text that click leaves unformatted


def listed() -> str:
    """A table of all, in the groups of --help."""
    rows = [
        [group if not number else "", f"[`crm-sync {name}`](#crm-sync-{name})", summary]
        for group, commands in SECTIONS.items()
        for number, (name, summary) in enumerate(commands.items())
    ]
    return table(["", "command", "what it does"], rows)


def described() -> str:
    """A section for each: usage, what it does, its options, an example."""
    context = click.Context(program, info_name="crm-sync")
    return "\n".join("\n".join(_section(name, context)) for name in COMMANDS)


def _section(name: str, parent: click.Context) -> Iterator[str]:
    command = program.get_command(parent, name)
    assert command is not None  # noqa: S101 (a section names only commands)
    context = click.Context(command, parent=parent, info_name=name)
    yield from (f"## crm-sync {name}", "")
    yield from ("```text", f"crm-sync {name} {' '.join(command.collect_usage_pieces(context))}", "```", "")
    text, _, example = (command.help or "").partition(EXAMPLE)
    for paragraph in text.strip().split("\n\n"):
        yield from (wrapped(paragraph), "")
    yield from _options(command, context)
    lines = [line.strip() for line in example.strip().splitlines()[1:]]
    if lines:
        yield from ("```text", *lines, "```", "")


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    records = [record for parameter in command.get_params(context) if (record := parameter.get_help_record(context))]
    rows = [[code(names), sentence(meaning)] for names, meaning in records if meaning and "--help" not in names]
    if rows:
        yield table(["option", "meaning"], rows)


PARTS: Mapping[str, Callable[[], str]] = {"command-list": listed, "commands": described}
