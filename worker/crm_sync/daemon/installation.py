"""What a configuration means for this database: read and checked before anything is claimed."""

from collections.abc import Mapping
from dataclasses import dataclass

from crm_sync.configuration import LaneConfiguration
from crm_sync.core.waits import Waits
from crm_sync.crm.account import Account
from crm_sync.errors import ConfigurationError
from crm_sync.limits.behind_the_lane import BehindTheLane
from crm_sync.limits.rate_limit import RateLimit
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import render
from crm_sync.settings import LaneSettings
from crm_sync.table.adopted_table import LaneTable
from crm_sync.table.mapping import FieldMapping, prepare_for
from crm_sync.table.rights import require_rights
from crm_sync.table.schema import Schema, not_installed

NOTHING = FieldMapping("NULL::text", {})  # sent for a CRM without a lane


@dataclass(frozen=True, slots=True)
class Installation:
    """lanes and mappings: by CRM, for those that a person named."""

    schema: Schema
    lanes: Mapping[str, LaneSettings]
    mappings: Mapping[str, FieldMapping]


@dataclass(frozen=True, slots=True)
class LanePlan:
    """Everything a lane needs. schema: the one it was checked against."""

    schema: Schema
    table: LaneTable
    settings: LaneSettings
    mapping: FieldMapping
    account: Account

    def behind_the_lane(self, database: Database, waits: Waits) -> BehindTheLane:
        """The account's limits, for commands that ask the CRM while workers deliver."""
        ready = render("detect_ready", self.table.variables)

        async def is_awaited() -> bool:
            return bool(await database.value(ready))

        return BehindTheLane(RateLimit(database, self.table.crm, self.account.windows), is_awaited, waits)


async def plan_lane(database: Database, schema: Schema, configuration: LaneConfiguration) -> LanePlan:
    """Checks the columns, triggers, rights and mapping of one CRM.

    Raises ConfigurationError that says what is wrong and what to do, and DatabaseTroubleError.
    """
    crm = configuration.crm
    if (fault := schema.faults.get(crm)) is not None:
        raise ConfigurationError(fault)
    if (table := schema.lanes.get(crm)) is None:
        raise ConfigurationError(not_installed(crm))
    await require_rights(database, schema.table, table)
    account = configuration.account
    mapping = await prepare_for(
        database,
        crm,
        configuration.sections,
        account.default_fields,
        schema,
        forms=account.forms,
        empty=configuration.settings.empty,
        required=account.required,
    )
    return LanePlan(schema, table, configuration.settings, mapping, account)
