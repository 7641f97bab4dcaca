"""Writes the manual pages of crm-sync and of its commands: python deploy/man.py FOLDER. What they say is what --help says."""

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from crm_sync import __version__
from crm_sync.cli import SECTIONS
from crm_sync.cli import crm_sync as program

EXAMPLE = "\b"  # what click keeps as it is begins with it


def main(folder: str) -> None:
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    context = click.Context(program, info_name="crm-sync")
    (place / "crm-sync.1").write_text("\n".join(of_all()) + "\n", encoding="utf-8")
    for section in SECTIONS.values():
        for name, summary in section.items():
            command = program.get_command(context, name)
            assert command is not None  # noqa: S101 (a section names commands only)
            page = "\n".join(of_one(command, click.Context(command, parent=context, info_name=name), summary))
            (place / f"crm-sync-{name}.1").write_text(f"{page}\n", encoding="utf-8")


def of_all() -> Iterator[str]:
    yield from _head("crm-sync", "keeps CRMs in step with a contacts table")
    yield from (".SH SYNOPSIS", r".B crm\-sync", r"\fICOMMAND\fR [\fIOPTIONS\fR] [\fIARGUMENTS\fR]")
    yield from (".SH DESCRIPTION", roff((program.help or "").partition("\n")[0]))
    yield "An application flips a status column of its own table in SQL; a worker delivers the contact, and writes back what"
    yield "became of it."
    for heading, commands in SECTIONS.items():
        yield f".SS {roff(heading)}"
        for name, summary in commands.items():
            yield from (".TP", rf"\fBcrm\-sync {roff(name)}\fR", roff(summary))
    yield from (".SH FILES", ".TP", r"\fI/etc/crm\-sync/.env\fR", "The settings of the worker that systemd runs.")
    yield from (".TP", r"\fI.env\fR", "Those of a command, in the folder that it is started in.")
    yield from (".SH EXIT STATUS", "0 if all is well, 1 if something is not, 2 for wrong options, 78 for a wrong setting.")
    yield from (".SH SEE ALSO", ",\n".join(rf"\fBcrm\-sync\-{roff(name)}\fR(1)" for part in SECTIONS.values() for name in part))


def of_one(command: click.Command, context: click.Context, summary: str) -> Iterator[str]:
    yield from _head(f"crm-sync-{context.info_name}", summary.rstrip("."))
    usage = " ".join(command.collect_usage_pieces(context))
    yield from (".SH SYNOPSIS", rf"\fBcrm\-sync {roff(context.info_name or '')}\fR {roff(usage)}")
    yield ".SH DESCRIPTION"
    text, _, example = (command.help or "").partition(EXAMPLE)
    for number, paragraph in enumerate(text.strip().split("\n\n")):
        yield from ([".PP"] if number else [])
        yield roff(" ".join(paragraph.split()))
    records = [record for parameter in command.get_params(context) if (record := parameter.get_help_record(context))]
    if records:
        yield ".SH OPTIONS"
    for names, meaning in records:
        yield from (".TP", rf"\fB{roff(names)}\fR", roff(meaning))
    yield from (".SH EXAMPLE", ".nf", *(roff(line.strip()) for line in example.strip().splitlines()[1:]), ".fi")
    yield from (".SH SEE ALSO", r"\fBcrm\-sync\fR(1)")


def roff(text: str) -> str:
    """As troff shows it: no line is a request of it, and no hyphen becomes a dash."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq")
    return rf"\&{escaped}" if escaped.startswith((".", "'")) else escaped


def _head(name: str, summary: str) -> Iterator[str]:
    yield f'.TH "{roff(name.upper())}" 1 "" "crm\\-sync {__version__}" "crm\\-sync"'
    yield from (".SH NAME", rf"{roff(name)} \- {roff(summary[:1].lower() + summary[1:])}")


if __name__ == "__main__":
    main(*sys.argv[1:])
