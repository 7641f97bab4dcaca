"""What the database makes of a configuration: read and proved before anything is claimed."""

from collections.abc import Mapping
from dataclasses import dataclass

from crm_sync.configuration import Configuration
from crm_sync.errors import ConfigurationError
from crm_sync.postgres.pool import Database
from crm_sync.settings import LaneSettings
from crm_sync.table.mapping import FieldMapping, prepare_for
from crm_sync.table.schema import Schema, read_schema


@dataclass(frozen=True, slots=True)
class Installation:
    """lanes and mappings: by CRM, of all that are installed."""

    schema: Schema
    lanes: Mapping[str, LaneSettings]
    mappings: Mapping[str, FieldMapping]


async def read_installation(database: Database, configuration: Configuration) -> Installation:
    """Raises ConfigurationError naming what is wrong: what needs no database is looked at first. Else DatabaseTroubleError."""
    sections, accounts = configuration.mapping, configuration.accounts
    schema = await read_schema(database, configuration.settings.contacts_table)
    for crm in accounts:
        if crm not in schema.lanes:
            raise ConfigurationError(f"{crm} is not installed on the contacts table: run `crm-sync migrate`")
    lanes = {crm: configuration.lane(crm) for crm in schema.lanes}
    mappings = {crm: FieldMapping("NULL::text", {}) for crm in schema.lanes}  # nothing is sent of those without an account
    for crm, account in accounts.items():
        mappings[crm] = await prepare_for(database, crm, sections, account.default_fields, schema, forms=account.forms)
    return Installation(schema, lanes, mappings)
