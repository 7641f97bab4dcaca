"""What one worker reports for all of them in its metrics: as `crm-sync status` reads it, at a bounded cost."""

from crm_sync.daemon.wiring import Wiring
from crm_sync.errors import ConfigurationError
from crm_sync.log import Trouble
from crm_sync.reports.status_reading import LaneStatus, read_status
from crm_sync.telling.counts import Counted, LaneCounts, LimitUse
from crm_sync.telling.labels import CONTACT_STATES


class FleetCounts:
    """For every installed CRM."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self._trouble: dict[str, Trouble] = {}

    async def read(self) -> Counted:
        """See `crm_sync.telling.counts.Counts`."""
        refused: dict[str, ConfigurationError] = {}
        status = await read_status(self._wiring.database, refused=refused)
        return Counted({lane.crm: await self._lane(lane, refused.get(lane.crm)) for lane in status.lanes})

    async def _lane(self, lane: LaneStatus, error: ConfigurationError | None) -> LaneCounts:
        """Without its contacts if they cannot be counted: the lane is faulty then, and its state says so."""
        limits: list[LimitUse] = []
        try:
            limits = await self._limits(lane.crm)
        except ConfigurationError as of_limits:
            error = error or of_limits
        trouble = self._trouble.setdefault(lane.crm, Trouble(crm=lane.crm, loop="metrics"))
        if error is None:
            trouble.over()
        else:
            trouble.tell(error)
        state = lane.state
        down_code = None if state.breaker == "closed" else (state.breaker_reason or "").partition(":")[0]
        if not lane.counted:
            return LaneCounts(state.label, down_code, limits=limits)
        counts = {name: lane.about.get(name, getattr(lane, name)) for name in CONTACT_STATES}
        return LaneCounts(
            state.label,
            down_code,
            contacts={name: count for name, count in counts.items() if count is not None},
            oldest_ready_s=lane.oldest_ready_s or 0.0,
            backlog_ends_in_s=lane.ends_in_s,
            limits=limits,
            tombstones={"waiting": lane.deletions_waiting, "failed": lane.deletions_failed},
        )

    async def _limits(self, crm: str) -> list[LimitUse]:
        lane = self._wiring.lanes.get(crm)
        if lane is None:
            return []
        return [LimitUse(window.seconds, window.limit, used) for window, used in await lane.rate_limit.used()]
