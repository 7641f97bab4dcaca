"""A fake CRM made of routes.

class Ledger(RoutedSandbox):
    @route("PUT", "/people/{number}")
    def write(self, call: Call, number: str) -> Answer:
        ...
"""

import math
import re
import time
from collections.abc import Callable
from typing import Any, TypeVar

from crm_sync.sandbox.limits import Limit
from crm_sync.sandbox.server import Answer, Call, Sandbox

Handler = Callable[..., Answer]
Method = TypeVar("Method", bound=Handler)

_ROUTES = "_crm_sync_routes"
_PLACE = re.compile(r"\\\{(\w+)\\\}")


def route(method: str, path: str) -> Callable[[Method], Method]:
    """Marks the method of a RoutedSandbox that answers these requests. The value of each `{name}` in the path, which contains no
    slash, is passed as a keyword argument. A method may have several routes.
    """

    def mark(handler: Method) -> Method:
        setattr(handler, _ROUTES, [*getattr(handler, _ROUTES, ()), (method, path)])
        return handler

    return mark


class RoutedSandbox(Sandbox):
    """A fake CRM whose answers come from its routes. Everything else is common to all sandboxes: faults, log, `/_sandbox/` pages.

    limit: requests that it accepts; further ones are answered by `throttled`. An exception in a route is a bug of the test: the
    request is answered with 500, and aiohttp logs it.
    """

    def __init__(
        self,
        *,
        limit: Limit | None = None,
        port: int = 0,
        keep_log: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(port=port, keep_log=keep_log, clock=clock)
        self.limit = limit
        self._routes: list[tuple[str, re.Pattern[str], Handler]] = []
        # Routes of the class itself come before inherited ones, in source order.
        for owner in type(self).__mro__:
            for name, member in vars(owner).items():
                for method, path in getattr(member, _ROUTES, ()):
                    self.add(method, path, getattr(self, name))

    def add(self, method: str, path: str, handler: Handler) -> None:
        """Adds a route: handler(call, **values of the path's placeholders). The first match answers."""
        pattern = _PLACE.sub(r"(?P<\1>[^/]+)", re.escape(path))
        self._routes.append((method, re.compile(pattern), handler))

    def respond(self, call: Call) -> Answer:
        refusal = self.admits(call)
        if refusal is not None:
            return refusal
        if self.limit is not None and not self.limit.admit(self.clock()):
            return self.throttled()
        found = [(method, handler, fit) for method, path, handler in self._routes if (fit := path.fullmatch(call.path))]
        for method, handler, fit in found:
            if method == call.method:
                return handler(call, **fit.groupdict())
        return self.error(405 if found else 404, "Method Not Allowed" if found else "Not Found")

    def admits(self, call: Call) -> Answer | None:
        """The answer to a request with invalid credentials; None if they are valid. Checked before the limit."""
        return None

    def error(self, status: int, message: str, **headers: str) -> Answer:
        """An error in the vendor's own format; by default `{"message": "..."}`."""
        body: dict[str, Any] = {"message": message}
        return Answer(status, body, headers)

    def throttled(self) -> Answer:
        now_s = self.clock()
        window = self.limit.tightest(now_s) if self.limit and self.limit.windows else None
        pause_s = max(1, math.ceil(window.ends_s - now_s)) if window else 1
        return self.error(429, "Too Many Requests", **{"Retry-After": str(pause_s)})

    def refused(self) -> Answer:
        return self.error(400, "Bad Request")
