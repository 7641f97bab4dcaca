"""Which requests of a client are of one kind: method and path, without what differs from contact to contact."""

import re

from crm_sync.core.operation import Operation

MOST = 1000  # kinds that are told apart; a client has a dozen

# Ids, and addresses as they are in a path. That versions are dropped too does no harm.
_PARTICULAR = re.compile(r"[^/]*[0-9@%][^/]*")


class Operations:
    """Of one account."""

    def __init__(self) -> None:
        self._known: dict[str, Operation] = {}

    def of(self, method: str, path: str) -> Operation:
        """path: as it is in the request, encoded, without a query."""
        kind = f"{method} {_PARTICULAR.sub('*', path)}"
        operation = self._known.get(kind)
        if operation is None:
            if len(self._known) >= MOST:
                self._known.clear()  # what was served is forgotten, and proves nothing for a while
            operation = self._known[kind] = Operation()
        return operation
