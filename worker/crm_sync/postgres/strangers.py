"""Sessions of no worker that hold locks of crm-sync: they count for nothing, and somebody should know of them."""

from collections.abc import Iterable

import structlog

from crm_sync import events

NOTE = "sessions that are not workers hold locks of crm-sync, which have no effect. `crm-sync check` names them"

log = structlog.get_logger()


class Strangers:
    """Told once each, and only who stays for two looks: a worker that reconnects may look like one for a moment."""

    def __init__(self) -> None:
        self._seen: frozenset[int] = frozenset()
        self._told: frozenset[int] = frozenset()

    def tell(self, pids: Iterable[int]) -> None:
        """pids: processes of the server, as of this look."""
        found = frozenset(pids)
        stay, self._seen = found & self._seen, found
        if stay - self._told:
            log.warning(events.LOCKS_TAKEN, pids=sorted(stay), note=NOTE)
        self._told = stay
