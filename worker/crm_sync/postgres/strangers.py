"""Sessions that hold locks of crm-sync but are not workers: they have no effect, but are reported."""

from collections.abc import Iterable

import structlog

from crm_sync import events

NOTE = "sessions that are not workers hold locks of crm-sync, which have no effect. `crm-sync check` names them"

log = structlog.get_logger()


class Strangers:
    """Each is reported once, and only if seen in two looks: a worker that reconnects may look like one for a moment."""

    def __init__(self) -> None:
        self._seen: frozenset[int] = frozenset()
        self._told: frozenset[int] = frozenset()

    def tell(self, pids: Iterable[int]) -> None:
        """pids: server processes, as of this look."""
        found = frozenset(pids)
        stay, self._seen = found & self._seen, found
        if stay - self._told:
            log.warning(events.LOCKS_TAKEN, pids=sorted(stay), note=NOTE)
        self._told = stay
