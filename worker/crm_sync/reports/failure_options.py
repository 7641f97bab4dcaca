"""Which failed contacts the user means: the options --crm, --code, --since and --key. All functions raise click.BadParameter."""

import re
from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from difflib import get_close_matches
from itertools import groupby
from typing import Any, TypeVar

import click

from crm_sync.core.codes import NO_CODE, Code
from crm_sync.core.durations import parse
from crm_sync.reports.completing import code_names, crm_names
from crm_sync.reports.named_contact import not_blank

Function = TypeVar("Function", bound=Callable[..., Any])


def failure_options(function: Function) -> Function:
    """Adds the options. The command gets them as `crms`, `codes` and `since`, as typed."""
    options = (
        click.option(
            "--crm",
            "crms",
            multiple=True,
            metavar="CRM",
            shell_complete=crm_names,
            help="Only this CRM, or several, comma-separated; all if left out.",
        ),
        click.option(
            "--code",
            "codes",
            multiple=True,
            metavar="CODE",
            shell_complete=code_names,
            help="Only this code, or several, comma-separated.",
        ),
        click.option("--since", metavar="TIME", help="Only failures within this time: 90s, 30m, 2h, 3d."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def keys_option(function: Function) -> Function:
    """Adds the option --key. The command gets the keys as `keys`, as typed, and none of them is blank."""

    def not_blank_ones(_context: click.Context, _parameter: click.Parameter, keys: Sequence[str]) -> Sequence[str]:
        for key in keys:
            not_blank(key, "--key", "a key")
        return keys

    option = click.option(
        "--key",
        "keys",
        multiple=True,
        metavar="KEY",
        callback=not_blank_ones,
        help="The contact with this key; repeat it for several.",
    )
    return option(function)


def named_crms(arguments: Sequence[str]) -> list[str]:
    names = [part.strip().lower() for argument in arguments for part in argument.split(",")]
    if not all(names):
        raise click.BadParameter("name a CRM", param_hint="--crm")
    return names


def named_codes(arguments: Sequence[str]) -> list[str]:
    names = split_codes(arguments)
    if arguments and not names:
        raise click.BadParameter("name a code; `crm-sync errors` lists them", param_hint="--code")
    return names


def ago(since: str | None) -> timedelta | None:
    try:
        return None if since is None else parse(since)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--since") from error


def split_codes(arguments: Sequence[str]) -> list[str]:
    """Comma-separated codes, also as they appear before a reason in a row."""
    parts = (part.strip() for argument in arguments for part in argument.partition(":")[0].split(","))
    return [part for part in parts if part]


def meant_codes(named: Sequence[str], present: Collection[str]) -> list[str]:
    """The selected codes, without duplicates: spelled as in the rows, else as in crm-sync. Case, whitespace, - and _ do not
    matter.

    present: the codes in the rows. Other programs may write their own codes to the same columns. Raises click.BadParameter with
    the existing codes, the nearest first.
    """
    known = {_folded(code): [code] for code in (*(code.value for code in Code), NO_CODE)}
    known |= {folded: list(codes) for folded, codes in groupby(sorted(present, key=_folded), _folded)}
    meant: list[str] = []
    for name in named:
        if _folded(name) not in known:
            near = [code for folded in get_close_matches(_folded(name), known) for code in known[folded]]
            others = sorted(code for codes in known.values() for code in codes if code not in near)
            nearest = f"; similar: {', '.join(near)}" if near else ""
            raise click.BadParameter(
                f"{name} is not a code of crm-sync, and no contact has it{nearest}. Known: {', '.join([*near, *others])}",
                param_hint="--code",
            )
        meant += known[_folded(name)]
    return list(dict.fromkeys(meant))


def _folded(code: str) -> str:
    return re.sub(r"[\s_-]+", "_", code.strip()).casefold()
