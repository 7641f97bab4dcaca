"""crm-sync systemd: prints the unit file."""

import sys
from importlib.resources import files
from pathlib import Path

import click

# The lines of the unit that hide folders from the service.
HIDING = {"ProtectHome": ("/home", "/root", "/run/user"), "PrivateTmp": ("/tmp", "/var/tmp")}  # noqa: S108 (only compared)


@click.command()
@click.option("--console", is_flag=True, help="The unit of the console instead of the worker's.")
def systemd(*, console: bool) -> None:
    """Prints a hardened systemd unit that runs this installation. Comments in it say where it goes and what to fill in.

    \b
    Example:
      crm-sync systemd > /etc/systemd/system/crm-sync.service
    """
    package, unit = ("crm_sync.console", "crm-sync-console.service") if console else ("crm_sync.daemon", "crm-sync.service")
    template = files(package).joinpath(unit).read_text(encoding="utf-8")
    for folder in sorted({str(Path(prefix).resolve()) for prefix in (sys.prefix, sys.base_prefix)}):
        for line, hidden in HIDING.items():
            if any(Path(folder).is_relative_to(one) for one in hidden):
                click.echo(
                    f"crm-sync: a service with this unit cannot see {folder}, because of {line}= in it. Install crm-sync and its "
                    "Python elsewhere, such as in /opt/crm-sync, and print the unit with that installation",
                    err=True,
                )
    click.echo(template.replace("@EXECUTABLE@", executable()), nl=False)


def executable() -> str:
    """The command that this process was started with, as for a unit: `crm-sync`, or else Python and the package."""
    started = Path(sys.argv[0])
    if started.name == "crm-sync" and started.is_file():
        return quoted(started.absolute())
    return f"{quoted(Path(sys.executable))} -m crm_sync"


def quoted(path: Path) -> str:
    """In the form systemd.service(5) requires for a path in a command line."""
    text = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{text}"' if any(character in text for character in " \t'\"\\") else text
