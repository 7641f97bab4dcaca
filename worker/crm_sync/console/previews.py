"""What would change, before anything does; and where the addresses of forms lead that are only looked at."""

from typing import Any

from aiohttp import web

from crm_sync.api.requests import Selection
from crm_sync.api.routes import Scope
from crm_sync.api.service import Service
from crm_sync.console.asked import CONSEQUENCES, LABELS, filter_of, wish_of
from crm_sync.console.commands import of_retry, of_selection
from crm_sync.console.drawing import Drawing
from crm_sync.console.pages import KEY
from crm_sync.core.codes import OF_DELIVERED


class Previews:
    """Nothing here changes anything."""

    def __init__(self, service: Service, drawing: Drawing) -> None:
        self._tables = service.tables
        self._lanes = service.lanes
        self._changing = service.changing
        self._drawing = drawing

    def routes(self, base: str) -> list[web.RouteDef]:
        """base: the path before each."""
        shown = {
            "/selections": (self._selection, Scope.FLIP),
            "/retry": (self._retry, Scope.OPERATE),
            "/fields/{crm}": (self._to_crm, Scope.READ),
            f"/reveal/{KEY}": (self._to_contact, Scope.READ),
        }
        return [web.get(f"{base}{path}", self._drawing.guarded(handler, scope)) for path, (handler, scope) in shown.items()]

    async def _selection(self, request: web.Request) -> web.StreamResponse:
        """How many match. `after`: how far a change has come that takes more than one request."""
        asked = request.query
        crm, after = asked.get("crm", ""), asked.get("after") or None
        if not crm or not asked.get("status"):
            self._drawing.lead(request, self._drawing.url("/contacts"))
        wanted, wish = filter_of(asked), wish_of(asked.get("status"))
        table = await self._tables.table(crm)
        common: dict[str, Any] = {
            "crm": crm,
            "state": wanted.state,
            "code": wanted.code,
            "label": LABELS[wish],
            "wish": wish.value,
        }
        if after is not None:
            return self._drawing.show(request, "selection_more.html", here="/contacts", after=after, **common)
        preview = await self._changing.count(Selection(crm=crm, status=wish, where=wanted))
        return self._drawing.show(
            request, "selection.html", here="/contacts", preview=preview, consequence=CONSEQUENCES[wish],
            same_as=of_selection(table.variables, wish, wanted), **common,
        )  # fmt: skip

    async def _retry(self, request: web.Request) -> web.StreamResponse:
        crm, code = request.query.get("crm", ""), request.query.get("code", "")
        if not crm.strip() or not code.strip():
            self._drawing.lead(request, self._drawing.url("/failures"))
        variables = (await self._tables.table(crm)).variables
        failed = next((one for one in await self._lanes.failures() if (one.crm, one.code) == (crm, code)), None)
        return self._drawing.show(
            request, "retry.html", here="/failures", failed=failed, crm=crm, code=code, same_as=of_retry(variables, crm, code),
            is_delivered=code in OF_DELIVERED,
        )  # fmt: skip

    async def _to_crm(self, request: web.Request) -> web.StreamResponse:
        self._drawing.lead(request, self._drawing.url(f"/crms/{request.match_info['crm']}"))

    async def _to_contact(self, request: web.Request) -> web.StreamResponse:
        self._drawing.lead(request, self._drawing.page_of(request.match_info["key"]))
