"""Writes the manual pages of crm-sync, its commands and its settings: python deploy/man.py FOLDER.

They say the same as --help and docs/reference: all are made from the same texts in the code.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import click
from pydantic import BaseModel

from crm_sync import __version__
from crm_sync.cli import SECTIONS
from crm_sync.cli import crm_sync as program
from crm_sync.console_settings import ConsoleSettings
from crm_sync.crm.registry import OWN
from crm_sync.exit_codes import EXIT_CODES
from crm_sync.settings import AlertSettings, LaneSettings, ProxySettings, Settings, TraceSettings, TransportSettings

EXAMPLE = "\b"  # marks text that click leaves unformatted


def main(folder: str) -> None:
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    context = click.Context(program, info_name="crm-sync")
    (place / "crm-sync.1").write_text("\n".join(of_all()) + "\n", encoding="utf-8")
    (place / "crm-sync.env.5").write_text("\n".join(of_settings()) + "\n", encoding="utf-8")
    for section in SECTIONS.values():
        for name, summary in section.items():
            command = program.get_command(context, name)
            assert command is not None  # noqa: S101 (a section names only commands)
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
    yield ".SH EXIT STATUS"
    for code, names, meaning in EXIT_CODES:
        of = f" ({', '.join(names)})" if names else ""
        yield from (".TP", rf"\fB{code}\fR{roff(of)}", roff(meaning))
    yield from (
        ".SH SEE ALSO",
        ",\n".join(
            [r"\fBcrm\-sync.env\fR(5)", *(rf"\fBcrm\-sync\-{roff(name)}\fR(1)" for part in SECTIONS.values() for name in part)]
        ),
    )


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


def of_settings() -> Iterator[str]:
    """Every setting with its default, in section 5."""
    yield from _head("crm-sync.env", "settings of crm-sync", 5)
    yield ".SH DESCRIPTION"
    yield roff("Settings are read from the environment, from .env in the folder that crm-sync is started in, and from")
    yield roff(
        "credentials of systemd. In .env there is one a line: NAME=value. `crm-sync settings` lists them with their values."
    )
    for heading, prefix, model in _models():
        yield f".SH {roff(heading.upper())}"
        for name, setting in model.model_fields.items():
            default = "" if setting.is_required() or setting.default in (None, "") else f" (default: {setting.default})"
            yield from (".TP", rf"\fB{roff((prefix + name).upper())}\fR", roff(f"{setting.description}{default}"))
    yield from (".SH SEE ALSO", r"\fBcrm\-sync\fR(1)")


def _models() -> Iterator[tuple[str, str, type[BaseModel]]]:
    yield from (("worker", "", Settings), ("hosts without TLS", "", TransportSettings), ("proxies", "", ProxySettings))
    yield from (("alerts", "", AlertSettings), ("traces", "", TraceSettings), ("console", "", ConsoleSettings))
    yield from ((name, "", crm.settings) for name, crm in OWN.items() if crm.settings)
    yield ("every CRM, here Brevo", "brevo_", LaneSettings)


def roff(text: str) -> str:
    """Escaped for troff: no line becomes a request, and no hyphen a dash."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq")
    return rf"\&{escaped}" if escaped.startswith((".", "'")) else escaped


def _head(name: str, summary: str, section: int = 1) -> Iterator[str]:
    yield f'.TH "{roff(name.upper())}" {section} "" "crm\\-sync {__version__}" "crm\\-sync"'
    yield from (".SH NAME", rf"{roff(name)} \- {roff(summary[:1].lower() + summary[1:])}")


if __name__ == "__main__":
    main(*sys.argv[1:])
