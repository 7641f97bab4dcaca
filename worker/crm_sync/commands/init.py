"""crm-sync init: the first configuration, from a few answers and the existing table."""

import asyncio
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import click

from crm_sync.adoption.candidates import Candidate, candidates
from crm_sync.adoption.key_and_email import DEFAULT_EMAIL
from crm_sync.adoption.table import DEFAULT_TABLE
from crm_sync.commands.check import Verdict, tell_findings
from crm_sync.crm.registry import OWN, Crm
from crm_sync.env_file import PRIVATE, already_there, text_of, write_new
from crm_sync.environment import ENV_FILE, ENVIRONMENT, Environment
from crm_sync.errors import ConfigurationError, CrmSyncError
from crm_sync.reports.layout import wrapped
from crm_sync.settings import LaneSettings, Settings, TransportSettings
from crm_sync.table.starting_mapping import Known, starting_mapping

MAPPING = "mapping.toml"
PUBLIC = 0o644
# Expected to fail until crm-sync is on the table, which is the next step.
NOT_YET = ("migrations", "schema and triggers")

Result = TypeVar("Result")


@click.command()
@click.option("--yes", is_flag=True, help="Ask nothing: use what is set in the environment, and the likeliest table.")
def init(*, yes: bool) -> None:
    """Writes a first configuration into this folder, and checks it: .env, which only you can read, and mapping.toml, with a field
    for each column that a CRM knows.

    It asks for the database, the table and the CRMs, unless they are set in the environment. It overwrites no file, and does not
    change the database.

    \b
    Example:
      crm-sync init
      DATABASE_URL=postgresql://... BREVO_API_KEY=... crm-sync init --yes
    """
    files = Path(ENV_FILE), Path(MAPPING)
    for path in files:
        if os.path.lexists(path):
            raise already_there(path.absolute())
    answers = _Answers(Environment.capture(), yes=yes)
    table = answers.database()
    crms = [crm for crm in OWN.values() if answers.wants(crm)]
    if not crms:
        click.echo("No CRM has credentials yet: add them to .env, one line a setting.")
    _write(files, answers, table, crms)
    click.echo()
    told = asyncio.run(tell_findings())
    wrong = [finding.subject for finding in told if finding.verdict is Verdict.WRONG]
    click.echo("\n" + wrapped(_next(table, wrong)))
    if [subject for subject in wrong if subject not in NOT_YET]:
        sys.exit(1)


def _write(files: tuple[Path, Path], answers: "_Answers", table: Candidate | None, crms: Sequence[Crm]) -> None:
    """Both files or none. Raises as write_new does."""
    env, mapping = files
    written = f"Wrote {env}, which only you can read"
    if table is not None and table.email is not None and crms:
        answers.values["mapping_file"] = MAPPING
        columns = {column.name: Known(column.written, column.is_text) for column in table.columns}
        fields = {crm.name: crm.default_fields or {} for crm in crms}
        write_new(mapping, starting_mapping(table.name, table.email, columns, fields), PUBLIC)
        written += f", and {mapping}"
    try:
        write_new(env, text_of({name.upper(): value for name, value in answers.values.items()}), PRIVATE)
    except CrmSyncError:
        if "mapping_file" in answers.values:
            mapping.unlink()
        raise
    click.echo(f"{written}.")


def _next(table: Candidate | None, wrong: Sequence[str]) -> str:
    if table is None:
        return "There is no table with a column for addresses. Next: crm-sync migrate --create makes one called contacts."
    if any(subject in NOT_YET for subject in wrong):
        return "Next: crm-sync adopt --plan says what would be put on the table, crm-sync adopt does it, crm-sync run delivers."
    return "Next: what is wrong above." if wrong else "Next: crm-sync run."


@dataclass(slots=True)
class _Answers:
    """What is to be written, by the names of settings in lower case. yes: ask no questions."""

    environment: Environment
    yes: bool
    values: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._keep([*Settings.model_fields, *TransportSettings.model_fields])
        self.values.pop("mapping_file", None)

    def database(self) -> Candidate | None:
        """The table; None if no table fits. Raises ConfigurationError or DatabaseTroubleError."""
        found = self._until_right(
            self._found, ["database_url"], {"database_url": "The database, postgresql://user@host/database"}
        )
        if not found:
            return None
        table = found[0] if len(found) == 1 else self._chosen(found)
        key = table.key or self._column("contacts_key", "The column that identifies a row", table.keys, table.name)
        email = table.email or self._column("contacts_email", "The column with the address", table.emails, table.name)
        if table.name != f"public.{DEFAULT_TABLE}":
            self.values.setdefault("contacts_table", table.name)
        if email != DEFAULT_EMAIL:
            self.values.setdefault("contacts_email", email)
        click.echo(f"The table is {table.name}: a row is identified by {key}, its address is {email}.")
        return Candidate(table.name, table.rows, table.columns, key, email)

    def wants(self, crm: Crm) -> bool:
        """Whether contacts are to go there. Asks for missing settings until they are right."""
        names = crm.asked
        known = [*(crm.settings.model_fields if crm.settings else ())]
        known += [f"{crm.name}_{name}" for name in LaneSettings.model_fields]
        is_set = any(name in self.environment.values for name in names)
        if self.yes or is_set:
            self._keep(known)
            return self._account(crm) if is_set else False
        if not click.confirm(f"Send contacts to {crm.name}?", default=False):
            return False
        self._keep(known)
        return self._until_right(lambda: self._account(crm), names, {name: _label(crm, name) for name in names})

    def _account(self, crm: Crm) -> bool:
        with self._read_as_answered().in_force():
            return crm.read_account() is not None

    def _found(self) -> list[Candidate]:
        settings = self._read_as_answered().read(Settings)
        return candidates(settings.session_url, settings.contacts_table)

    def _read_as_answered(self) -> Environment:
        return Environment({**self.environment.values, **self.values})

    def _keep(self, names: Sequence[str]) -> None:
        """Settings from the environment go to the file; a systemd credential stays where it is."""
        for name in names:
            if self.environment.origins.get(name) == ENVIRONMENT:
                self.values[name] = self.environment.values[name]

    def _until_right(self, work: Callable[[], Result], names: Sequence[str], labels: Mapping[str, str]) -> Result:
        """Does not ask for what is set, unless it turns out to be wrong."""
        missing = [name for name in names if name not in self.environment.values]
        while True:
            for name in [] if self.yes else missing:
                hidden = any(word in name for word in ("key", "token", "password", "value"))
                self.values[name] = click.prompt(labels[name], hide_input=hidden, type=str).strip()
            try:
                return work()
            except CrmSyncError as error:
                if self.yes or not missing:
                    raise
                click.echo(wrapped(f"That does not work: {error}"), err=True)

    def _chosen(self, found: Sequence[Candidate]) -> Candidate:
        names = [table.name for table in found]
        if self.yes:
            if names[0] == f"public.{DEFAULT_TABLE}":
                return found[0]
            raise ConfigurationError(f"which table is meant: set CONTACTS_TABLE to one of {', '.join(names)}")
        for table in found:
            click.echo(f"  {table.name}, about {table.rows:,} rows" if table.rows else f"  {table.name}")
        name = click.prompt("The table with the contacts", type=click.Choice(names), default=names[0], show_choices=False)
        return found[names.index(name)]

    def _column(self, setting: str, label: str, names: Sequence[str], table: str) -> str:
        """Asks if several columns could be meant, or none is certain."""
        given = self.environment.values.get(setting)
        if given is None and (self.yes or not names):
            likely = f", such as {' or '.join(names)}" if names else ""
            raise ConfigurationError(f"{label.lower()} of {table} is not clear: name it in {setting.upper()}{likely}")
        name = given or click.prompt(label, type=click.Choice(names), default=names[0])
        self.values[setting] = str(name)
        return str(name)


def _label(crm: Crm, name: str) -> str:
    description = crm.settings.model_fields[name].description if crm.settings else None
    return f"  {name.upper()} ({(description or '').partition(';')[0]})"
