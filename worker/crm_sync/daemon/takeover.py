"""Before a worker takes over from a former one: lanes whose new configuration is wrong keep the one that they deliver with."""

from collections.abc import Mapping

import structlog

from crm_sync import events
from crm_sync.configuration import Configuration, LaneConfiguration
from crm_sync.daemon.installation import plan_lane
from crm_sync.daemon.supervised_lane import SupervisedLane
from crm_sync.errors import ConfigurationError
from crm_sync.postgres.pool import Database
from crm_sync.reports.rights import with_advice
from crm_sync.table.schema import Schema

log = structlog.get_logger()


async def kept_configurations(
    database: Database, schema: Schema, configuration: Configuration, former: Mapping[str, SupervisedLane]
) -> dict[str, LaneConfiguration]:
    """By CRM: those that replace the new ones. former: lanes of the worker that is replaced. One that is held keeps its
    configuration only if that is valid. Raises DatabaseTroubleError.
    """
    kept: dict[str, LaneConfiguration] = {}
    for crm, lane in former.items():
        if (current := lane.good) is None:
            continue
        try:
            if wanted := configuration.of_lane(crm):
                await plan_lane(database, schema, wanted)
        except ConfigurationError as error:
            if lane.fault is not None and not await _is_valid(database, schema, current):
                continue  # nothing shows that the new one is to blame
            kept[crm] = current
            note = "this lane keeps its former configuration; the others have the new one"
            log.error(events.CONFIGURATION_REFUSED, crm=crm, reason=with_advice(error), note=note)  # noqa: TRY400
    return kept


async def _is_valid(database: Database, schema: Schema, configuration: LaneConfiguration) -> bool:
    """Raises DatabaseTroubleError."""
    try:
        await plan_lane(database, schema, configuration)
    except ConfigurationError:
        return False
    return True
