"""Which requests of a client are of one kind: method and path, without the parts that differ between contacts."""

import re

from crm_sync.core.operation import Operation

MOST = 1000  # kinds that are distinguished; a client has a dozen

# Ids, and addresses as they appear in a path. It also drops version numbers, which does no harm.
_PARTICULAR = re.compile(r"[^/]*[0-9@%][^/]*")


class Operations:
    """For one account."""

    def __init__(self) -> None:
        self._known: dict[str, Operation] = {}

    def of(self, method: str, path: str) -> Operation:
        """path: as in the request, encoded, without a query."""
        kind = f"{method} {_PARTICULAR.sub('*', path)}"
        operation = self._known.get(kind)
        if operation is None:
            if len(self._known) >= MOST:
                self._known.clear()  # forgets what was served, so nothing is proven for a while
            operation = self._known[kind] = Operation()
        return operation
