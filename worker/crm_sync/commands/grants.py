"""crm-sync grants: the rights that a role needs, and no others."""

import asyncio

import click

from crm_sync.configuration import Configuration, load
from crm_sync.errors import ConfigurationError
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
    try:
        click.echo("\n".join(asyncio.run(_read(load(), role, chosen[0] if chosen else "worker"))))
    except _NoSuchRoleError as error:
        click.echo(_failing(str(error)))
        raise


class _NoSuchRoleError(ConfigurationError):
    """There is nobody to grant anything to."""


def _failing(why: str) -> str:
    """For the psql that reads this: in a pipe, only its exit code counts."""
    quoted = why.replace("'", "''").replace("%", "%%")
    return f"\\set ON_ERROR_STOP on\nDO $$BEGIN RAISE EXCEPTION '{quoted}'; END$$;"


async def _read(configuration: Configuration, role: str, whose: str) -> list[str]:
    """The statements. Raises ConfigurationError or DatabaseTroubleError."""
    settings = configuration.settings
    async with Database.of(settings, size=1) as database:
        schema = await read_schema(database)
        target = dict((await database.fetch(query("describe_role"), role))[0])
        if not target["role_exists"]:
            raise _NoSuchRoleError(f"there is no role {role} yet: CREATE ROLE {quote(role)} LOGIN, then run this again")
        if whose == "application":
            return for_application(schema, target, role)
        if whose == "console-readonly":
            return for_console(schema, target, role, None)
        mapped = await columns_of_mapping(database, schema, configuration, target, schema.lanes)
        return (for_console if whose == "console" else for_worker)(schema, target, role, mapped)
