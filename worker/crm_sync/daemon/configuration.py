"""What the database makes of a configuration: read and proved before anything is claimed."""

from collections.abc import Mapping
from dataclasses import dataclass

from crm_sync.crm.account import Account
from crm_sync.errors import ConfigurationError
from crm_sync.postgres.pool import Database
from crm_sync.settings import LaneSettings, Settings, read_lane
from crm_sync.table.mapping import FieldMapping, prepare_for, read_file
from crm_sync.table.schema import Schema, read_schema


@dataclass(frozen=True, slots=True)
class Plan:
    """lanes and mappings: by CRM, of all that are installed."""

    schema: Schema
    lanes: Mapping[str, LaneSettings]
    mappings: Mapping[str, FieldMapping]


async def make_plan(database: Database, settings: Settings, accounts: Mapping[str, Account]) -> Plan:
    """Raises ConfigurationError naming what is wrong: what needs no database is looked at first. Else DatabaseTroubleError."""
    sections = read_file(settings.mapping_file)
    schema = await read_schema(database, settings.contacts_table)
    for crm in accounts:
        if crm not in schema.lanes:
            raise ConfigurationError(f"{crm} is not installed on the contacts table: run `crm-sync migrate`")
    lanes = {crm: read_lane(crm) for crm in schema.lanes}
    mappings = {crm: FieldMapping("NULL::text", {}) for crm in schema.lanes}  # nothing is sent of those without an account
    for crm, account in accounts.items():
        mappings[crm] = await prepare_for(database, crm, sections, account.default_fields, schema.table)
    return Plan(schema, lanes, mappings)
