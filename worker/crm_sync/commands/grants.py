"""crm-sync grants: the rights that a role needs, and no others."""

import asyncio

import click

from crm_sync.configuration import Configuration, load
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query, quote
from crm_sync.reports.grants import for_application, for_console, for_worker
from crm_sync.reports.mapped_columns import columns_of_mapping
from crm_sync.table.schema import read_schema


@click.command()
@click.argument("role")
@click.option("--application", is_flag=True, help="The rights of an application that flips, instead of a worker's.")
@click.option("--console", is_flag=True, help="The rights of the console and the API, instead of a worker's.")
@click.option("--console-readonly", is_flag=True, help="The rights of a console that changes nothing, instead of a worker's.")
def grants(*, role: str, application: bool, console: bool, console_readonly: bool) -> None:
    """Prints the GRANTs, for psql, that ROLE needs to run a worker on this database. Changes nothing.

    They go column by column: a worker reads its key, what the mapping sends and its own columns, and writes its own only. Run it
    as the owner of the table, and again after `crm-sync migrate`, a change of the mapping or a new CRM.

    \b
    Example:
      crm-sync grants crm_worker | psql "$DATABASE_URL"
    """
    named = {"application": application, "console": console, "console-readonly": console_readonly}
    chosen = [name for name, is_chosen in named.items() if is_chosen]
    if len(chosen) > 1:
        raise click.UsageError(f"--{chosen[0]} and --{chosen[1]} exclude each other")
    statements, notes = asyncio.run(_read(load(), role, chosen[0] if chosen else "worker"))
    click.echo("\n".join(statements))
    for note in notes:
        click.echo(note, err=True)


async def _read(configuration: Configuration, role: str, whose: str) -> tuple[list[str], list[str]]:
    """(statements, what the user should know besides them). Raises ConfigurationError or DatabaseTroubleError."""
    settings = configuration.settings
    async with Database.of(settings, size=1) as database:
        schema = await read_schema(database)
        target = dict((await database.fetch(query("describe_role"), role))[0])
        if whose == "application":
            statements = for_application(schema, target, role)
        elif whose == "console-readonly":
            statements = for_console(schema, target, role, None)
        else:
            mapped = await columns_of_mapping(database, schema, configuration, target, schema.lanes)
            grant = for_console if whose == "console" else for_worker
            statements = grant(schema, target, role, mapped)
    notes = []
    if not target["role_exists"]:
        notes.append(f"There is no role {role} yet: CREATE ROLE {quote(role)} LOGIN;")
    return statements, notes
