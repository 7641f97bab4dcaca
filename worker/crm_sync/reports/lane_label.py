"""What a lane does now, in a word and in a sentence: the same in `crm-sync status`, `crm-sync check`, the console and the API."""

from collections.abc import Iterator

from crm_sync.reports.status_reading import LaneStatus, Status

NO_WORKER, IDLE, STALLED = "no worker", "idle", "stalled"
CALLABLE = frozenset({"delivering", NO_WORKER, IDLE, STALLED})  # nothing speaks against a request to the CRM
STALLED_S = 60.0  # if a contact has been ready for this long, none is in flight, and none was delivered in the last minute
HANGING_S = 300.0  # if a contact has been ready for this long, and none was delivered for as long, although some are in flight

NOT_DELIVERING = (
    "contacts are ready, but none was delivered in the last minute, and the CRM is not down: it has no credentials where the "
    "worker runs, or a limit of its account is used up; the worker's log says which"
)
HANGING = (
    "contacts are ready and some are in flight, but none was delivered in the last 5 minutes, and the CRM is not down: its "
    "requests hang, or every contact fails; the worker's log says which"
)
_WITHOUT_WORKER = "no worker is running: contacts wait in line until one does"
_IDLE = "no contact is ready or in flight"


def label(lane: LaneStatus, alive: int) -> str:
    """One word. alive: living workers."""
    if not lane.state.open:
        return lane.state.label
    if not alive:
        return NO_WORKER
    if not lane.ready + lane.in_flight:
        return IDLE
    return lane.state.label if stalled(lane) is None else STALLED


def sentence(lane: LaneStatus, alive: int) -> str:
    """In full."""
    match label(lane, alive):
        case "no worker":
            return _WITHOUT_WORKER
        case "idle":
            return _IDLE
        case "stalled":
            return stalled(lane) or ""
    return lane.state.sentence


def stalled(lane: LaneStatus) -> str | None:
    """What is wrong if contacts are ready and none is delivered, and no state of the lane says why."""
    ready_s = lane.oldest_ready_s or 0.0
    if not lane.state.open or lane.delivered_last_minute or ready_s <= STALLED_S:
        return None
    if not lane.in_flight:
        return NOT_DELIVERING
    last = lane.last_delivered_at
    silent_s = ready_s if last is None else min(ready_s, (lane.state.now - last).total_seconds())
    return HANGING if silent_s > HANGING_S else None


def is_well(status: Status) -> bool:
    """Whether nothing needs a person: no CRM is down, no lane is faulty or stalled, and if contacts are ready, a worker is alive.

    A CRM that was paused by hand, and one that says "too many requests", do not count as problems.
    """
    return not any(
        lane.state.down
        or lane.state.fault is not None
        or (lane.ready and not status.alive)
        or (status.alive and stalled(lane) is not None)
        for lane in status.lanes
    )


def stalled_notes(status: Status) -> Iterator[tuple[str, str]]:
    """(CRM, note) of those, where a worker could deliver them."""
    for lane in status.lanes:
        if status.alive and (note := stalled(lane)) is not None:
            yield lane.crm, note
